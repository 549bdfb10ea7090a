//! The three methods that data planes call: `Enrol`, `Renew`, `Watch`.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use weft_model::wire::{
    Down, DownKind, Endpoints, EnrolRequest, Hello, Issued, RenewRequest, SERVICE, Trust, Up, UpKind,
};
use weft_trust::enrol::EnrolError;
use weft_trust::identity::Identity;

use crate::grpc::server;
use crate::grpc::{Code, Item, Messages, Outgoing, Status};
use crate::hub::{Caller, SessionError, SessionId};
use crate::identities::IdentitiesError;
use crate::metrics::count;
use crate::shared::Shared;

/// The first message of a stream must be there by then.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a message from a data plane: a report of very many series.
const UP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Changes that come within this are told together.
const COALESCE: Duration = Duration::from_millis(5);

/// Answers one call. `peer` is who the TLS handshake proved, if anybody.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    peer: Option<Identity>,
    request: Request<Incoming>,
) -> Response<Outgoing> {
    let answered = match server::method(&request, SERVICE).map(str::to_owned).as_deref() {
        Ok("Enrol") => server::unary(request, |message| enrol(Arc::clone(&shared), message)).await,
        Ok("Renew") => server::unary(request, |message| renew(Arc::clone(&shared), message)).await,
        Ok("Watch") => watch(shared, peer, request),
        Ok(_) => Err(Status::new(Code::Unimplemented, "no such method")),
        Err(status) => Err(status.clone()),
    };
    answered.unwrap_or_else(|status| server::refused(&status))
}

async fn enrol(shared: Arc<Shared>, request: EnrolRequest) -> Result<Issued, Status> {
    match shared.identities.enrol(&request.token, &request.csr) {
        Ok(issued) => {
            count(&shared.counters.enrolled);
            tracing::info!(instance = %issued.instance, "enrolled");
            Ok(issued)
        }
        Err(error) => {
            count(&shared.counters.enrolments_refused);
            // One line for each guess would be the guesser's to fill the disk with; the counter tells how many.
            tracing::debug!(%error, "enrolment refused");
            Err(refusal(&error))
        }
    }
}

async fn renew(shared: Arc<Shared>, request: RenewRequest) -> Result<Issued, Status> {
    match shared.identities.renew(&request.instance, &request.csr) {
        Ok(issued) => {
            count(&shared.counters.renewed);
            tracing::info!(instance = %issued.instance, "identity renewed");
            if let Some((serial, expires_unix_s)) = shared.identities.newest(&issued.instance) {
                shared.hub().renewed(&issued.instance, &serial, expires_unix_s);
            }
            Ok(issued)
        }
        Err(error) => {
            count(&shared.counters.renewals_refused);
            tracing::debug!(%error, "renewal refused");
            Err(refusal(&error))
        }
    }
}

/// What a stranger is told: never more than what he said himself.
fn refusal(error: &IdentitiesError) -> Status {
    match error {
        IdentitiesError::Enrol(EnrolError::Token(reason)) => {
            Status::new(Code::Unauthenticated, reason.to_string())
        }
        IdentitiesError::Enrol(reason @ EnrolError::Unknown(_)) => {
            Status::new(Code::Unauthenticated, reason.to_string())
        }
        IdentitiesError::Enrol(reason @ (EnrolError::Revoked(_) | EnrolError::RevokedKey)) => {
            Status::new(Code::PermissionDenied, reason.to_string())
        }
        IdentitiesError::Enrol(EnrolError::Authority(weft_trust::authority::AuthorityError::Request(
            reason,
        ))) => Status::new(Code::InvalidArgument, reason.to_string()),
        IdentitiesError::Enrol(EnrolError::RegistryFull | EnrolError::RevokedFull(_)) => {
            Status::new(Code::ResourceExhausted, error.to_string())
        }
        other => {
            tracing::error!(error = %other, "an identity could not be issued");
            Status::new(Code::Unavailable, "control cannot issue identities at the moment")
        }
    }
}

fn watch(
    shared: Arc<Shared>,
    peer: Option<Identity>,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Status> {
    let identity =
        peer.ok_or_else(|| Status::new(Code::Unauthenticated, "this call needs a client certificate"))?;
    let unknown =
        || Status::new(Code::PermissionDenied, format!("{} did not enrol here, or was revoked", identity.id));
    let caller = shared.identities.caller(&identity).ok_or_else(unknown)?;
    let (sender, response) = server::stream();
    let messages = Messages::new(request.into_body(), UP_BYTES_MAX);
    tokio::spawn(async move {
        let stream = Stream { shared, identity, caller };
        let status = stream.serve(messages, &sender).await;
        if status.code != Code::Ok {
            tracing::info!(instance = %stream.caller.instance, reason = %status, "stream ended");
        }
        // Whoever is gone cannot be told why.
        let _ = sender.send(Item::End(status)).await;
    });
    Ok(response)
}

/// One stream of one process.
struct Stream {
    shared: Arc<Shared>,
    identity: Identity,
    caller: Caller,
}

impl Stream {
    async fn serve(&self, mut messages: Messages, sender: &mpsc::Sender<Item>) -> Status {
        let hello = match tokio::time::timeout(HELLO_TIMEOUT, messages.next::<Up>()).await {
            Ok(Ok(Some(Up { kind: Some(UpKind::Hello(hello)) }))) => hello,
            Ok(Err(status)) => return status,
            Ok(Ok(_)) => return Status::new(Code::InvalidArgument, "a stream begins with a hello"),
            Err(_) => return Status::new(Code::DeadlineExceeded, "no hello"),
        };
        let opened = self.shared.hub().open(&self.caller, &hello, self.shared.now());
        let id = match opened {
            Ok(id) => id,
            Err(error @ SessionError::OtherInstance { .. }) => {
                return Status::new(Code::PermissionDenied, error.to_string());
            }
            Err(error @ SessionError::TooMany { .. }) => {
                return Status::new(Code::ResourceExhausted, error.to_string());
            }
        };
        let open = Open { stream: self, id };
        self.shared.changed();
        tokio::select! {
            status = open.hear(&mut messages) => status,
            status = open.tell(sender, &hello) => status,
        }
    }
}

/// An open session; closes itself in the hub however the stream ends.
struct Open<'s> {
    stream: &'s Stream,
    id: SessionId,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Stream { shared, caller, .. } = self.stream;
        let now = shared.now();
        let left = shared.hub().close(caller, self.id, now);
        if left {
            shared.identities.leave(&caller.instance);
        }
        shared.changed();
    }
}

impl Open<'_> {
    /// Takes in what the process says, until it has nothing more to say.
    async fn hear(&self, messages: &mut Messages) -> Status {
        loop {
            match messages.next::<Up>().await {
                Ok(Some(Up { kind: Some(kind) })) => self.take(kind),
                // A newer process may say more than this build understands.
                Ok(Some(Up { kind: None })) => {}
                Ok(None) => return Status::new(Code::Ok, ""),
                Err(status) => return status,
            }
        }
    }

    fn take(&self, kind: UpKind) {
        let Stream { shared, caller, .. } = self.stream;
        let now = shared.now();
        match kind {
            UpKind::Hello(hello) => shared.hub().greet_again(caller, self.id, &hello, now),
            UpKind::Ack(ack) => shared.hub().acknowledge(caller, self.id, &ack.version, now),
            UpKind::Nack(nack) => {
                count(&shared.counters.plans_refused);
                let (instance, reason) = (&caller.instance, &nack.reason);
                tracing::error!(%instance, version = %nack.version, %reason, "a process refused its plan");
                shared.hub().refuse(caller, self.id, &nack.version, &nack.reason, now);
            }
            UpKind::Presence(presence) => {
                let changed = shared.hub().present(caller, self.id, &presence, now);
                if changed {
                    shared.changed();
                } else {
                    shared.shown();
                }
            }
            UpKind::Report(report) => {
                let newest = {
                    let mut hub = shared.hub();
                    hub.seen(caller, self.id, now);
                    hub.is_newest(caller, self.id)
                };
                // In a rolling restart two processes have one name; the older one's counters end with it.
                if newest {
                    shared.reported(caller, report, now);
                }
                return;
            }
        }
        shared.shown();
    }

    /// Tells the process what is not yet told, each time that something changed.
    async fn tell(&self, sender: &mpsc::Sender<Item>, hello: &Hello) -> Status {
        let Stream { shared, identity, caller } = self.stream;
        let mut told = Told { plan: hello.plan_version.clone(), ..Told::default() };
        let mut changes = shared.changes();
        loop {
            changes.borrow_and_update();
            if shared.identities.is_revoked(identity) {
                return Status::new(Code::PermissionDenied, format!("`{}` was revoked", caller.instance));
            }
            let view = shared.hub().view(&caller.service, shared.now());
            for down in told.news(view) {
                if matches!(down.kind, Some(DownKind::Plan(_))) {
                    count(&shared.counters.plans_sent);
                }
                let item = match server::item(&down) {
                    Ok(item) => item,
                    Err(status) => return status,
                };
                if sender.send(item).await.is_err() {
                    return Status::new(Code::Cancelled, "the process went away");
                }
            }
            if changes.changed().await.is_err() {
                return Status::new(Code::Unavailable, "control is going away");
            }
            // Many changes come together when a system starts; one message then says them all.
            tokio::time::sleep(COALESCE).await;
        }
    }
}

/// What a process was told last.
#[derive(Default)]
struct Told {
    plan: String,
    endpoints: Option<Endpoints>,
    trust: Option<Arc<Trust>>,
}

impl Told {
    /// What it must be told now: whom to believe, then what to do, then who is there.
    fn news(&mut self, view: crate::hub::View) -> Vec<Down> {
        let mut news = Vec::new();
        if self.trust.as_deref() != Some(&*view.trust) {
            news.push(DownKind::Trust((*view.trust).clone()));
            self.trust = Some(view.trust);
        }
        if let Some(plan) = view.plan.filter(|plan| plan.version != self.plan) {
            self.plan.clone_from(&plan.version);
            news.push(DownKind::Plan((*plan).clone()));
        }
        if view.endpoints.is_some() && view.endpoints != self.endpoints {
            news.extend(view.endpoints.clone().map(DownKind::Endpoints));
            self.endpoints = view.endpoints;
        }
        news.into_iter().map(|kind| Down { kind: Some(kind) }).collect()
    }
}
