//! Passing an answer on, from its head to its end, while the rest of the request may still be on its way.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use weft_model::code::Code;

use super::Job;
use super::one::{Carried, Left};
use crate::access::Record;
use crate::body::{BodyError, BodyLength, Broken, Progress, Responder, Writer, pump};
use crate::exchange::{Fate, Request, date, finish_head};
use crate::head::{Head, Known};
use crate::rescue::{self, Ended};
use crate::upstream::reply::{Answer, AnswerKind};

/// Passing an answer on, from its head to its end.
pub(super) struct Passing<'p, 'r, 'w> {
    pub(super) job: &'p Job<'p>,
    pub(super) request: &'p Request<'r>,
    pub(super) responder: &'p mut Responder<'w>,
    pub(super) record: &'p mut Record,
    pub(super) progress: &'p Progress,
}

impl Passing<'_, '_, '_> {
    pub(super) async fn pass<F: Future<Output = UploadEnd>>(
        self,
        upload: &mut Upload<'_, F>,
        head: &mut Head,
        answer: &mut Answer<'_>,
    ) -> Carried {
        let Passing { job, request, responder, record, progress } = self;
        let Answer { declared, kind, reusable, announced } = answer;
        finish_head(job.route.and_then(|route| route.cors.as_ref()), job.route, request, head);
        record.status = head.status();
        record.grpc = grpc_status(head);
        let reader = match kind {
            AnswerKind::Final(reader) => reader,
            AnswerKind::Switched | AnswerKind::Interim(_) if is_asked_for(request.head, head) => {
                return switched(responder, head, record).await;
            }
            AnswerKind::Switched | AnswerKind::Interim(_) => {
                let name = &job.callee.plan.name;
                let detail = format!("`{name}` took to a protocol that the request does not offer");
                return Carried::Ended(Ended::new(Code::UpstreamNotUpgraded, detail));
            }
        };
        if !progress.complete.get() {
            // The answer came before the end of the request: what is left of it would be taken for the next one.
            responder.close_after();
        }
        date(job.worker, head);
        record.head_sent = true;
        let Ok(mut writer) = responder.start(head, reader.length(), *declared) else {
            return Carried::Ended(Code::DownstreamGone.into());
        };
        let moved = Cell::new(false);
        let bytes = Cell::new(0);
        let result = {
            let download = pin!(pump(reader, &mut writer, |part| {
                moved.set(true);
                bytes.set(bytes.get() + part.len() as u64);
                Ok(())
            }));
            rest_of(job, upload, download, [&moved, &progress.moved]).await
        };
        record.response_bytes = bytes.get();
        if let Some(status) = reader.trailers().and_then(grpc_status) {
            record.grpc = Some(status);
        }
        match result {
            Ok(()) if progress.complete.get() && *reusable => {
                Carried::Passed(Fate::Keep, Left::Reusable(*announced))
            }
            Ok(()) if progress.complete.get() => Carried::Passed(Fate::Keep, Left::Done),
            Ok(()) => Carried::Passed(Fate::Close, Left::Done),
            // Who leaves with all of the answer in hand has not given it up; only its end had not come to us yet.
            Err(ended) if ended.code == Code::DownstreamGone && writer.is_whole() && !request.grpc => {
                Carried::Passed(Fate::Close, Left::Done)
            }
            Err(ended) if request.grpc && told_in_trailers(&ended, &mut writer).await => {
                record.grpc = ended.code.grpc_status();
                record.code = Some(ended.code);
                record.detail = ended.detail;
                Carried::Passed(Fate::Close, Left::Done)
            }
            Err(ended) => Carried::Ended(ended),
        }
    }
}

/// Ends an answer of gRPC that broke off with trailers that say why, where somebody is there to read them. Elsewhere an
/// answer that breaks off is cut.
async fn told_in_trailers(ended: &Ended, writer: &mut Writer<'_>) -> bool {
    if ended.code == Code::DownstreamGone || !matches!(writer, Writer::Http2(_) | Writer::GrpcWeb(_)) {
        return false;
    }
    let mut trailers = Head::new();
    trailers.start_trailers();
    rescue::grpc_trailers(ended, &mut trailers).is_ok() && writer.end(Some(&trailers)).await.is_ok()
}

/// Whether a 101 changes to nothing but what the request offers (RFC 9110, 7.8).
fn is_asked_for(request: &Head, answer: &Head) -> bool {
    let offered = request.get(Known::Upgrade).map(protocols).into_iter().flatten().collect::<Vec<_>>();
    let mut taken = answer.get(Known::Upgrade).map(protocols).into_iter().flatten().peekable();
    taken.peek().is_some() && taken.all(|one| offered.iter().any(|offer| offer.eq_ignore_ascii_case(one)))
}

fn protocols(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|one| !one.is_empty())
}

/// Tells the client that the protocol changes; its connection and ours carry bytes from now on.
async fn switched(responder: &mut Responder<'_>, head: &Head, record: &mut Record) -> Carried {
    record.head_sent = true;
    let Ok(mut writer) = responder.start(head, BodyLength::None, None) else {
        return Carried::Ended(Code::DownstreamGone.into());
    };
    match writer.end(None).await {
        Ok(()) => Carried::Passed(Fate::Close, Left::Switched),
        Err(_) => Carried::Ended(Code::DownstreamGone.into()),
    }
}

/// Until the answer is passed on whole, or something ends it.
async fn rest_of<F: Future<Output = UploadEnd>>(
    job: &Job<'_>,
    upload: &mut Upload<'_, F>,
    mut download: Pin<&mut impl Future<Output = Result<(), Broken>>>,
    moved: [&Cell<bool>; 2],
) -> Result<(), Ended> {
    let timer = &job.worker.timer;
    let mut deadline = timer.at(job.limits.whole.at());
    let any = || moved.map(|one_way| one_way.replace(false)).contains(&true);
    let mut idle = pin!(timer.until_silent(job.worker.limits().stream_idle, any));
    let mut waited = false;
    let rest = poll_fn(|cx| {
        if let Poll::Ready(result) = download.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|broken| match broken {
                Broken::Reading(BodyError::Malformed) => Code::UpstreamProtocol.into(),
                Broken::Reading(_) => Code::UpstreamTruncated.into(),
                // Longer or shorter than announced is the upstream's fault, everything else the client's leaving.
                Broken::Writing(BodyError::Malformed) => Code::UpstreamTruncated.into(),
                Broken::Writing(_) => Code::DownstreamGone.into(),
            }));
        }
        if let Poll::Ready(end) = upload.poll(cx) {
            return Poll::Ready(Err(end.ended()));
        }
        if Pin::new(&mut deadline).poll(cx).is_ready() {
            return Poll::Ready(Err(job.too_late()));
        }
        waited = true;
        idle.as_mut().poll(cx).map(|()| Err(Code::StreamIdle.into()))
    });
    let ended = rest.await;
    if waited {
        timer.now();
    }
    ended
}

/// How sending the request ended, where that ends the exchange or changes it.
#[derive(Clone, Copy)]
pub(super) enum UploadEnd {
    /// All of it was sent, and then the client went away.
    Gone,
    /// The client broke off or broke its framing.
    Unreadable(BodyError),
    /// The upstream takes no more. Its answer may still come.
    Unwritable,
}

impl UploadEnd {
    pub(super) fn ended(self) -> Ended {
        match self {
            UploadEnd::Unreadable(BodyError::Malformed) => Code::BadFraming.into(),
            UploadEnd::Unreadable(BodyError::TooLarge) => Code::BodyTooLarge.into(),
            UploadEnd::Unreadable(BodyError::NotBase64) => Code::BadGrpcWeb.into(),
            UploadEnd::Gone | UploadEnd::Unwritable | UploadEnd::Unreadable(BodyError::Gone) => {
                Code::DownstreamGone.into()
            }
        }
    }
}

/// The request on its way.
pub(super) struct Upload<'f, F> {
    pub(super) future: Pin<&'f mut F>,
    pub(super) over: bool,
}

impl<F: Future<Output = UploadEnd>> Upload<'_, F> {
    /// An end that matters. That the upstream takes no more is for its answer to explain.
    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<UploadEnd> {
        if self.over {
            return Poll::Pending;
        }
        match self.future.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(end) => {
                self.over = true;
                if matches!(end, UploadEnd::Unwritable) { Poll::Pending } else { Poll::Ready(end) }
            }
        }
    }
}

pub(super) fn grpc_status(head: &Head) -> Option<u8> {
    head.get_str(Known::GrpcStatus).and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(to: Option<&str>) -> Head {
        let mut head = Head::new();
        if let Some(to) = to {
            head.push_known(Known::Upgrade, to.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn a_change_is_to_what_was_offered_and_to_nothing_else() {
        for (offered, taken, expected) in [
            (Some("websocket"), Some("websocket"), true),
            (Some("websocket"), Some("WebSocket"), true),
            (Some("shout/2, shout/1"), Some("shout/1"), true),
            (Some("TLS/1.3, shout/1"), Some("TLS/1.3, shout/1"), true),
            (Some("shout/1"), Some("shout/2"), false),
            (Some("shout/1"), Some("shout/1, h2c"), false),
            (Some("websocket"), Some("web"), false),
            (Some("websocket"), Some(" ,"), false),
            (Some("websocket"), None, false),
            (None, Some("websocket"), false),
        ] {
            let verdict = is_asked_for(&upgrade(offered), &upgrade(taken));
            assert_eq!(verdict, expected, "{offered:?} {taken:?}");
        }
    }
}
