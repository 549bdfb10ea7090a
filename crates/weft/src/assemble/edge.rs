//! What a gateway serves TLS with: the pair that its plan names, put in force with the plan, and again whenever its files
//! change.
//!
//! Renewal replaces two files in ways that no notification covers as a whole: each by a rename, both by a link that is
//! turned to another folder (as Kubernetes does), in place, or on a file system that notifies nobody; and the gateway may
//! run on another machine than control. So the gateway reads its own files every [`LOOK_INTERVAL`] and goes by what they
//! hold. What two looks in a row found counts: a pair that is just being written is neither served nor complained about.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use weft_model::plan::EdgeTlsPlan;
use weft_model::sources::Files as _;
use weft_model::wire::{EdgePair, Presence};
use weft_proxy::Engine;
use weft_stdx::clock::Clock;
use weft_trust::edge::{EdgeCertificate, EdgeTls, PEM_BYTES_MAX, PairDigest};

use crate::commands::manifest::Folder;

/// Between two looks at the files. What changed is in force after two of them.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The TLS of the edge, and the files that it comes from.
pub(crate) struct Edge {
    engine: Engine,
    clock: Clock,
    manifest_dir: PathBuf,
    presence: watch::Sender<Presence>,
    served: Mutex<Served>,
}

/// What is in force.
#[derive(Default)]
struct Served {
    tls: Option<EdgeTls>,
    /// Absent where the pair does not come from files.
    followed: Option<Followed>,
}

struct Followed {
    names: Names,
    following: Following,
}

/// Paths of the pair, from the manifest's folder on.
#[derive(Clone, PartialEq, Eq)]
struct Names {
    cert: String,
    key: String,
}

/// What a plan asks for, read and found to be good.
pub(crate) enum Prepared {
    /// No TLS.
    Plain,
    /// The files cannot be used right now, and a pair that they held before is in force: it stays.
    AsBefore,
    /// This one.
    Pair(Box<EdgeCertificate>, Option<Reread>),
}

/// Files to look at from now on, and what they held.
pub(crate) struct Reread {
    names: Names,
    digest: PairDigest,
}

impl Edge {
    pub(crate) fn new(
        engine: Engine,
        clock: Clock,
        manifest_dir: PathBuf,
        presence: watch::Sender<Presence>,
    ) -> Self {
        Self { engine, clock, manifest_dir, presence, served: Mutex::default() }
    }

    /// Reads what a plan names; changes nothing. On `Err` (why, for people) the plan cannot be served.
    pub(crate) fn prepare(
        &self,
        tls: Option<&EdgeTlsPlan>,
        pair: Option<&EdgePair>,
    ) -> Result<Prepared, String> {
        match tls {
            None => Ok(Prepared::Plain),
            Some(EdgeTlsPlan::Auto) => {
                let pair = pair.ok_or("control sent no certificate for `tls: auto`")?;
                let now = self.clock.wall();
                let certificate =
                    EdgeCertificate::from_pem(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes(), now);
                certificate
                    .map(|certificate| Prepared::Pair(Box::new(certificate), None))
                    .map_err(|error| error.to_string())
            }
            Some(EdgeTlsPlan::Files { cert, key }) => {
                let names = Names { cert: cert.clone(), key: key.clone() };
                let looked = Look::at(&self.files(), &names);
                match looked.certificate(&names, self.clock.wall()) {
                    Ok((certificate, digest)) => {
                        Ok(Prepared::Pair(Box::new(certificate), Some(Reread { names, digest })))
                    }
                    Err(_) if self.serves_from(&names) => Ok(Prepared::AsBefore),
                    Err(reason) => Err(reason),
                }
            }
        }
    }

    /// Puts in force what was prepared: handshakes that begin from now on use it.
    pub(crate) fn put(&self, prepared: Prepared) -> Result<(), String> {
        let mut served = self.served();
        match prepared {
            Prepared::AsBefore => {}
            Prepared::Plain => {
                *served = Served::default();
                self.engine.set_edge_tls(None);
                self.tell(None);
            }
            Prepared::Pair(certificate, reread) => {
                self.serve(&mut served.tls, &certificate)?;
                served.followed = reread
                    .map(|Reread { names, digest }| Followed { names, following: Following::from(digest) });
            }
        }
        Ok(())
    }

    /// Looks at the files for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let names = self.served().followed.as_ref().map(|followed| followed.names.clone());
            let Some(names) = names else { continue };
            let (files, asked) = (self.files(), names.clone());
            // A mount may hang, and must hold up neither the words of control nor those of the supervisor.
            let Ok(look) = tokio::task::spawn_blocking(move || Look::at(&files, &asked)).await else {
                continue;
            };
            self.looked(&names, &look);
        }
    }

    fn looked(&self, names: &Names, look: &Look) {
        let Served { tls, followed } = &mut *self.served();
        // A plan that came meanwhile may name others.
        let Some(followed) = followed.as_mut().filter(|followed| followed.names == *names) else { return };
        match followed.following.look(look.seen.clone()) {
            Step::Nothing => {}
            Step::Mended => {
                tracing::info!(
                    cert = names.cert,
                    "the files of the edge's certificate hold what is in force"
                );
                self.tell_refusal(String::new());
            }
            Step::Try => {
                let tried = look.certificate(names, self.clock.wall()).and_then(|(certificate, digest)| {
                    self.serve(tls, &certificate)?;
                    Ok((unix_s(certificate.not_after()), digest))
                });
                match tried {
                    Ok((not_after_unix_s, digest)) => {
                        followed.following = Following::from(digest);
                        tracing::info!(
                            cert = names.cert,
                            not_after_unix_s,
                            "new certificate of the edge in force"
                        );
                    }
                    Err(reason) => {
                        followed.following.refuse(look.seen.clone());
                        tracing::warn!(%reason, "new certificate of the edge refused; the old one goes on");
                        self.tell_refusal(reason);
                    }
                }
            }
        }
    }

    fn serve(&self, tls: &mut Option<EdgeTls>, certificate: &EdgeCertificate) -> Result<(), String> {
        let certificates = std::slice::from_ref(certificate);
        match tls {
            Some(tls) => tls.replace(certificates).map_err(|error| error.to_string())?,
            None => {
                let made = EdgeTls::new(certificates, &self.clock).map_err(|error| error.to_string())?;
                self.engine.set_edge_tls(Some(Arc::clone(made.config())));
                *tls = Some(made);
            }
        }
        self.tell(Some(certificate.not_after()));
        Ok(())
    }

    fn serves_from(&self, names: &Names) -> bool {
        self.served().followed.as_ref().is_some_and(|followed| followed.names == *names)
    }

    /// Tells control that the newest pair is in force, and when it ends.
    fn tell(&self, not_after: Option<SystemTime>) {
        let not_after = not_after.map_or(0, unix_s);
        self.presence.send_if_modified(|presence| {
            let changed = presence.edge_not_after != not_after || !presence.edge_refused.is_empty();
            presence.edge_not_after = not_after;
            presence.edge_refused.clear();
            changed
        });
    }

    /// Tells control why the newest pair is not served; empty: it is.
    fn tell_refusal(&self, reason: String) {
        self.presence.send_modify(|presence| presence.edge_refused = reason);
    }

    fn files(&self) -> Folder {
        Folder::new(self.manifest_dir.clone())
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What the files hold, in a form that can be kept and compared; or why they cannot be read.
type Seen = Result<PairDigest, String>;

/// The files as they were at one moment.
struct Look {
    seen: Seen,
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Look {
    /// Reads the pair. Blocks.
    fn at(files: &Folder, names: &Names) -> Self {
        // One byte more than is taken, so that what is too long is seen to be.
        let read = |path: &str| {
            let place = files.place(path);
            files.read(path, PEM_BYTES_MAX + 1).map_err(|error| format!("`{}`: {error}", place.display()))
        };
        match read(&names.cert).and_then(|chain| Ok((chain, read(&names.key)?))) {
            Ok((chain, key)) => Self { seen: Ok(PairDigest::of(&chain, &key)), chain, key },
            Err(reason) => Self { seen: Err(reason), chain: Vec::new(), key: Vec::new() },
        }
    }

    fn certificate(&self, names: &Names, now: SystemTime) -> Result<(EdgeCertificate, PairDigest), String> {
        let digest = self.seen.clone()?;
        let Names { cert, key } = names;
        let certificate = EdgeCertificate::from_pem(&self.chain, &self.key, now)
            .map_err(|error| format!("`{cert}` with `{key}`: {error}"))?;
        Ok((certificate, digest))
    }
}

/// Decides what a look means. Pure.
#[derive(Debug)]
struct Following {
    in_force: PairDigest,
    last: Seen,
    refused: Option<Seen>,
}

/// What is to be done after a look.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Something else lies there, and lies still: take it, or refuse it.
    Try,
    /// After a refusal, what is in force is what lies there again.
    Mended,
}

impl Following {
    fn from(in_force: PairDigest) -> Self {
        Self { in_force, last: Ok(in_force), refused: None }
    }

    fn look(&mut self, seen: Seen) -> Step {
        let still = self.last == seen;
        self.last = seen;
        if !still || self.refused.as_ref() == Some(&self.last) {
            Step::Nothing
        } else if self.last != Ok(self.in_force) {
            Step::Try
        } else if self.refused.take().is_some() {
            Step::Mended
        } else {
            Step::Nothing
        }
    }

    /// What was to be tried cannot be used: not tried again until something else lies there.
    fn refuse(&mut self, seen: Seen) {
        self.refused = Some(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> Seen {
        Ok(PairDigest::of(name.as_bytes(), b"key"))
    }

    fn following(name: &str) -> Following {
        Following::from(pair(name).unwrap())
    }

    #[test]
    fn what_lies_still_is_tried_and_what_is_being_written_is_not() {
        let mut following = following("old");
        assert_eq!(following.look(pair("old")), Step::Nothing);
        for half in ["n", "ne"] {
            assert_eq!(following.look(pair(half)), Step::Nothing, "{half}");
        }
        assert_eq!(following.look(pair("new")), Step::Nothing);
        assert_eq!(following.look(pair("new")), Step::Try);
    }

    #[test]
    fn a_moment_that_ends_as_it_was_is_nothing() {
        let mut following = following("old");
        let missing = || Err("there is no such file".to_owned());
        for seen in [missing(), pair("old"), pair("half"), pair("old"), pair("old")] {
            assert_eq!(following.look(seen), Step::Nothing);
        }
    }

    #[test]
    fn a_refusal_is_said_once_for_each_content_and_ends_with_it() {
        let mut following = following("old");
        for broken in [pair("broken"), Err("there is no such file".to_owned()), pair("worse")] {
            assert_eq!(following.look(broken.clone()), Step::Nothing);
            assert_eq!(following.look(broken.clone()), Step::Try, "{broken:?}");
            following.refuse(broken.clone());
            assert_eq!(following.look(broken.clone()), Step::Nothing);
            assert_eq!(following.look(broken), Step::Nothing);
        }
        assert_eq!(following.look(pair("old")), Step::Nothing);
        assert_eq!(following.look(pair("old")), Step::Mended);
        assert_eq!(following.look(pair("old")), Step::Nothing, "said once");
        assert_eq!(following.look(pair("worse")), Step::Nothing);
        assert_eq!(following.look(pair("worse")), Step::Try, "it is tried again after it was gone");
    }

    /// A gateway's edge that listens nowhere, and a folder for its pair.
    struct World {
        edge: Edge,
        folder: PathBuf,
        presence: watch::Receiver<Presence>,
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    impl World {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("weft-edge-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let engine = Engine::start(weft_proxy::Config::new(Vec::new())).unwrap();
            let (sender, presence) = watch::channel(Presence::default());
            Self { edge: Edge::new(engine, Clock::system(), folder.clone(), sender), folder, presence }
        }

        fn lay(&self, chain: &str, key: &str) {
            std::fs::write(self.folder.join("edge.pem"), chain).unwrap();
            std::fs::write(self.folder.join("edge.key"), key).unwrap();
        }

        fn apply(&self) -> Result<(), String> {
            let files = EdgeTlsPlan::Files { cert: "edge.pem".to_owned(), key: "edge.key".to_owned() };
            self.edge.prepare(Some(&files), None).and_then(|prepared| self.edge.put(prepared))
        }

        /// Two looks.
        fn look(&self) {
            let names = Names { cert: "edge.pem".to_owned(), key: "edge.key".to_owned() };
            for _ in 0..2 {
                self.edge.looked(&names, &Look::at(&self.edge.files(), &names));
            }
        }

        /// Whether a certificate is served, and why the newest one is not.
        fn told(&self) -> (bool, String) {
            let presence = self.presence.borrow();
            (presence.edge_not_after != 0, presence.edge_refused.clone())
        }
    }

    fn certificate() -> (String, String) {
        let signed = rcgen::generate_simple_self_signed(vec!["shop.test".to_owned()]).unwrap();
        (signed.cert.pem(), signed.signing_key.serialize_pem())
    }

    #[test]
    fn a_plan_that_comes_while_a_pair_is_half_written_is_taken_with_the_pair_in_force() {
        let world = World::new("half");
        let ((chain, key), (next_chain, next_key)) = (certificate(), certificate());
        world.lay(&chain, &next_key);
        assert!(world.apply().unwrap_err().contains("does not belong"), "there is none to go on with");
        assert_eq!(world.told(), (false, String::new()));
        world.lay(&chain, &key);
        world.apply().unwrap();
        assert_eq!(world.told(), (true, String::new()));
        world.lay(&chain, &next_key);
        world.apply().unwrap();
        world.look();
        let (served, refused) = world.told();
        assert!(served && refused.contains("does not belong"), "{refused}");
        world.lay(&next_chain, &next_key);
        world.look();
        assert_eq!(world.told(), (true, String::new()));
    }

    #[test]
    fn files_that_are_gone_or_too_long_or_none_are_refused_and_come_back() {
        let world = World::new("gone");
        let (chain, key) = certificate();
        world.lay(&chain, &key);
        world.apply().unwrap();
        std::fs::remove_file(world.folder.join("edge.key")).unwrap();
        world.look();
        assert!(world.told().1.contains("edge.key`: there is no such file"), "{:?}", world.told());
        world.lay(&format!("{chain}{}", " ".repeat(PEM_BYTES_MAX)), &key);
        world.look();
        assert!(world.told().1.contains("not PEM of"), "{:?}", world.told());
        std::fs::remove_file(world.folder.join("edge.pem")).unwrap();
        std::fs::create_dir(world.folder.join("edge.pem")).unwrap();
        world.look();
        assert!(world.told().1.contains("it is not a file"), "{:?}", world.told());
        std::fs::remove_dir(world.folder.join("edge.pem")).unwrap();
        world.lay(&chain, &key);
        world.look();
        assert_eq!(world.told(), (true, String::new()));
        world.edge.put(Prepared::Plain).unwrap();
        assert_eq!(world.told(), (false, String::new()));
    }
}
