//! The plan of the edge: routes in the order in which they win.

use crate::defaults;
use crate::derive::{basis_points, millis};
use crate::manifest::{self, Answer, Cors, FieldEdits, FieldMatch, GatewayTls, RouteAction};
use crate::model::{Gateway, Model, Route};
use crate::plan;
use crate::plan::{
    ActionPlan, CorsPlan, EdgeTlsPlan, FixedResponse, GatewayPlan, MirrorPlan, RoutePlan, WeightedTarget,
};
use crate::route_order::precedence;

pub(crate) fn gateway(model: &Model, gateway: &Gateway) -> GatewayPlan {
    let said = &gateway.said;
    let mut routes: Vec<RoutePlan> =
        gateway.routes.iter().filter_map(|route| self::route(model, said, route)).collect();
    routes.sort_by(precedence);
    GatewayPlan {
        listen: listen(said),
        tls: said.tls.as_ref().map(|tls| match &tls.value {
            GatewayTls::Auto => EdgeTlsPlan::Auto,
            GatewayTls::Files { cert, key } => {
                EdgeTlsPlan::Files { cert: cert.value.clone(), key: key.value.clone() }
            }
        }),
        trusted_proxies: said.trusted_proxies.iter().map(|network| network.value.to_string()).collect(),
        routes,
        timeout_ms: said.timeout.as_ref().map_or(defaults::TIMEOUT_MS, |timeout| millis(timeout.value)),
        timeout_whole: said.timeout.is_some(),
    }
}

/// Where the gateway listens.
pub(crate) fn listen(said: &manifest::Gateway) -> Vec<String> {
    if said.listen.is_empty() {
        let default =
            if said.tls.is_some() { defaults::GATEWAY_LISTEN_TLS } else { defaults::GATEWAY_LISTEN };
        return vec![default.to_owned()];
    }
    said.listen.iter().map(|address| address.value.to_string()).collect()
}

/// The plan of a route; absent where its action could not be read.
pub(crate) fn route(model: &Model, gateway: &manifest::Gateway, route: &Route) -> Option<RoutePlan> {
    let said = &route.said;
    let key = &said.key.value;
    let cors = said.cors.as_ref().or(gateway.cors.as_ref());
    Some(RoutePlan {
        key: key.text.clone(),
        origin: model.origin(said.key.span),
        host: key.host.clone(),
        method: key.method.clone(),
        path: key.path.clone(),
        headers: said.match_headers.iter().map(field_match).collect(),
        query: said.match_query.iter().map(field_match).collect(),
        action: action(model, route)?,
        timeout_ms: said.timeout.as_ref().map(|timeout| millis(timeout.value)),
        request_headers: edits(&said.request_headers),
        response_headers: edits(&said.response_headers),
        cors: cors.map(|cors| self::cors(cors, key.method.as_deref())),
        mirror: mirror(model, route),
    })
}

fn action(model: &Model, route: &Route) -> Option<ActionPlan> {
    Some(match route.said.action.as_ref()? {
        RouteAction::Forward { rewrite, .. } => ActionPlan::Forward {
            targets: targets(model, route),
            rewrite: rewrite.as_ref().map(|rewrite| rewrite.value.clone()),
            replace: route.targets.first().and_then(|target| target.endpoint.clone()),
        },
        RouteAction::Redirect { to, status } => ActionPlan::Redirect {
            to: to.value.clone(),
            status: status.as_ref().map_or(defaults::REDIRECT_STATUS, |status| status.value),
        },
        RouteAction::Respond(answer) => ActionPlan::Respond(fixed(answer)),
    })
}

/// Weights in lowest terms: `90%` and `10%` are 9 and 1.
fn targets(model: &Model, route: &Route) -> Vec<WeightedTarget> {
    let weights: Vec<u32> = route.targets.iter().map(|target| target.weight_ppm.unwrap_or(1)).collect();
    let common = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let named = route.targets.iter().zip(weights);
    named
        .map(|(target, weight)| WeightedTarget {
            upstream: model.service(target.service).name().to_owned(),
            weight: weight / common,
        })
        .collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn mirror(model: &Model, route: &Route) -> Option<MirrorPlan> {
    let share = route.said.mirror.as_ref()?.share.as_ref();
    Some(MirrorPlan {
        upstream: model.service(route.mirror?).name().to_owned(),
        share_bp: share.map_or(defaults::MIRROR_SHARE_BP, |share| basis_points(share.value)),
    })
}

pub(crate) fn field_match(said: &FieldMatch) -> plan::FieldMatch {
    plan::FieldMatch { name: said.name.value.clone(), value: said.value.value.clone() }
}

pub(crate) fn fixed(answer: &Answer) -> FixedResponse {
    let field = |(name, value): &(manifest::Spanned<String>, manifest::Spanned<String>)| {
        (name.value.clone(), value.value.clone())
    };
    FixedResponse {
        status: answer.status.value,
        headers: answer.headers.iter().map(field).collect(),
        body: answer.body.as_ref().map(|body| body.value.clone()).unwrap_or_default(),
    }
}

fn edits(said: &FieldEdits) -> plan::FieldEdits {
    plan::FieldEdits {
        set: said.set.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect(),
        remove: said.remove.iter().map(|name| name.value.clone()).collect(),
    }
}

/// Methods of preflights are those of the route, unless said.
fn cors(said: &Cors, method: Option<&str>) -> CorsPlan {
    let values = |list: &[manifest::Spanned<String>]| list.iter().map(|item| item.value.clone()).collect();
    let methods = match (&said.methods, method) {
        (Some(methods), _) => values(methods),
        (None, Some("GET")) => vec!["GET".to_owned(), "HEAD".to_owned()],
        (None, Some(method)) => vec![method.to_owned()],
        (None, None) => defaults::CORS_METHODS.map(str::to_owned).to_vec(),
    };
    CorsPlan {
        origins: values(&said.origins),
        methods,
        headers: values(&said.headers),
        expose: values(&said.expose),
        credentials: said.credentials.as_ref().is_some_and(|credentials| credentials.value),
        max_age_s: said.max_age.as_ref().map_or(defaults::CORS_MAX_AGE_S, |age| age.value.as_secs()),
    }
}
