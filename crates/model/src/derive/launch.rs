//! What `weft up` starts: one entry for each version of each service that runs here, callees before callers.

use std::collections::{BTreeMap, BTreeSet};

use crate::defaults;
use crate::derive::sidecar;
use crate::manifest::{EnvEntry, Version};
use crate::model::{Model, Service, ServiceId};
use crate::plan::{EnvValue, LaunchPlan, LaunchService};

pub(crate) fn launch(model: &Model) -> LaunchPlan {
    let mut started: BTreeSet<ServiceId> = BTreeSet::new();
    let mut services = Vec::new();
    for id in order(model) {
        let service = model.service(id);
        if let Some(run) = &service.said.run {
            let callees = service.calls.iter().map(|call| call.callee);
            // In a cycle, the one that is started first does not wait for the others: it could wait for ever.
            let first: BTreeSet<&str> =
                callees.filter(|id| started.contains(id)).map(|id| model.service(id).name()).collect();
            let after: Vec<String> = first.into_iter().map(str::to_owned).collect();
            services.push(base(model, service, &run.value, after.clone()));
            services.extend(
                service.said.versions.iter().map(|said| version(model, service, said, after.clone())),
            );
            started.insert(id);
        }
    }
    LaunchPlan { services }
}

/// Callees before callers, else by name. A cycle is entered at the first of its names.
fn order(model: &Model) -> Vec<ServiceId> {
    let mut done = Vec::new();
    let mut seen = BTreeSet::new();
    for (id, _) in model.ids() {
        visit(model, id, &mut seen, &mut done);
    }
    done
}

/// Depth first without recursion: a chain of calls may be as long as there are services.
fn visit(model: &Model, start: ServiceId, seen: &mut BTreeSet<ServiceId>, done: &mut Vec<ServiceId>) {
    if !seen.insert(start) {
        return;
    }
    let callees = |id: ServiceId| -> Vec<ServiceId> {
        let unique: BTreeSet<ServiceId> = model.service(id).calls.iter().map(|call| call.callee).collect();
        unique.into_iter().rev().collect()
    };
    let mut open = vec![(start, callees(start))];
    while let Some((id, waiting)) = open.last_mut() {
        match waiting.pop() {
            Some(next) if seen.insert(next) => open.push((next, callees(next))),
            Some(_) => {}
            None => {
                done.push(*id);
                open.pop();
            }
        }
    }
}

fn base(model: &Model, service: &Service, run: &str, after: Vec<String>) -> LaunchService {
    let said = &service.said;
    LaunchService {
        service: service.name().to_owned(),
        version: defaults::BASE_VERSION.to_owned(),
        origin: model.origin(said.name.span),
        run: run.to_owned(),
        build: said.build.as_ref().map(|build| build.value.clone()),
        cwd: said.cwd.as_ref().map_or_else(|| ".".to_owned(), |cwd| cwd.value.clone()),
        env: environment(&said.env, &[]),
        port: said.port.as_ref().map(|port| port.value),
        replicas: said.replicas.as_ref().map_or(defaults::REPLICAS, |replicas| replicas.value),
        after,
        health: sidecar::health(service),
        protocol: service.protocol,
    }
}

/// A version says what differs. Its port is never the base's: both run at once.
fn version(model: &Model, service: &Service, said: &Version, after: Vec<String>) -> LaunchService {
    let run =
        said.run.as_ref().or(service.said.run.as_ref()).map(|run| run.value.clone()).unwrap_or_default();
    let mut launch = base(model, service, &run, after);
    launch.version.clone_from(&said.name.value);
    launch.origin = model.origin(said.name.span);
    launch.env = environment(&service.said.env, &said.env);
    launch.port = said.port.as_ref().map(|port| port.value);
    if let Some(build) = &said.build {
        launch.build = Some(build.value.clone());
    }
    if let Some(cwd) = &said.cwd {
        launch.cwd.clone_from(&cwd.value);
    }
    if let Some(replicas) = &said.replicas {
        launch.replicas = replicas.value;
    }
    launch
}

fn environment(base: &[EnvEntry], over: &[EnvEntry]) -> BTreeMap<String, EnvValue> {
    let entry = |entry: &EnvEntry| {
        (entry.name.value.clone(), EnvValue::new(entry.value.value.clone(), entry.written.clone()))
    };
    base.iter().chain(over).map(entry).collect()
}
