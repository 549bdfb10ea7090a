//! Floods of HTTP/2 beside a client that wants nothing but its answers: frames without pause, and a new connection each
//! time that one is ended.
//!
//! The machine is then busy, with those who flood most of all, and whoever shares it waits for that. So what the neighbour
//! sees is compared with a flood just like it toward somebody else, who takes all of it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use weft_testkit::Manifest;
use weft_testkit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};
use weft_testkit::offer::{Kind, Offer, Running, Times};

use super::*;

const MANIFEST: &str = "
system: floods
services:
  web: { run: \"{service} fast\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /**: web
";

/// Who floods at once.
const FLOODERS: usize = 4;
/// Requests of the neighbour in a second.
const NEIGHBOUR_PER_SECOND: u64 = 200;
/// Frames that are written at once, or pairs of them.
const FRAMES: u32 = 100;

/// `GET http://a/x` in HPACK (RFC 7541): method, scheme, a path and an authority as they are.
const GET: &[u8] = &[0x82, 0x86, 0x04, 2, b'/', b'x', 0x41, 1, b'a'];

/// What is written at the beginning, and then for each number.
type Flood = (&'static str, fn(&mut Vec<u8>), fn(&mut Vec<u8>, u32));

const FLOODS: [Flood; 6] = [
    ("requests that are given up", nothing, |out, number| {
        let stream = 2 * number + 1;
        frame(out, HEADERS, END_STREAM | END_HEADERS, stream, GET);
        frame(out, RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    }),
    ("settings", nothing, |out, _| frame(out, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
    ("pings", nothing, |out, _| frame(out, PING, 0, 0, &[0; 8])),
    ("windows", nothing, |out, _| frame(out, WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ("empty data", |out| frame(out, HEADERS, END_HEADERS, 1, GET), |out, _| frame(out, DATA, 0, 1, &[])),
    (
        "a head without an end",
        |out| frame(out, HEADERS, END_STREAM, 1, GET),
        |out, _| {
            frame(out, CONTINUATION, 0, 1, &[]);
        },
    ),
];

fn nothing(_: &mut Vec<u8>) {}

#[test]
fn a_flood_costs_its_neighbours_no_answer() {
    let seconds = setting("WEFT_FLOODS_SECONDS", 1);
    // Toward the gateway and elsewhere in turn.
    let turns = setting("WEFT_FLOODS_TURNS", 1);
    // How long the slowest hundredth may take, beside a flood elsewhere; 0: nothing is measured, the machine is shared with
    // other tests.
    let percent = setting("WEFT_FLOODS_PERCENT", 0);
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    let elsewhere = Elsewhere::start();
    say(&format!("  {:<38} {:>9} {:>9} {:>18}", "", "p50", "p99", "connections ended"));
    row("nobody floods", &neighbour(&system, seconds), None);
    let mut slowed = Vec::new();
    for (name, begin, next) in FLOODS {
        let (mut before, mut beside, mut ended) = (Times::default(), Times::default(), 0);
        for _ in 0..turns {
            let busy = Flooding::start(elsewhere.address, begin, next);
            before.add_all(&neighbour(&system, seconds));
            assert_eq!(busy.stop(), 0, "nobody ends it there");
            let flooding = Flooding::start(system.edge, begin, next);
            beside.add_all(&neighbour(&system, seconds));
            ended += flooding.stop();
        }
        row(&format!("{name}, elsewhere"), &before, None);
        row(name, &beside, Some(ended));
        assert!(ended >= FLOODERS as u64, "{name}: nothing ends it");
        let ratio = beside.at(99.0).as_secs_f64() / before.at(99.0).as_secs_f64();
        if percent > 0 && ratio * 100.0 >= f64::from(u32::try_from(percent).unwrap_or(u32::MAX)) {
            slowed.push(format!("{name}: p99 {ratio:.1} times as long"));
        }
    }
    assert!(slowed.is_empty(), "{slowed:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// How long the neighbour's answers took in so many seconds.
fn neighbour(system: &System, seconds: u64) -> Times {
    let kinds = vec![Kind::get("neighbour", "/x")];
    let offer =
        Offer { to: system.edge, kinds, per_second: NEIGHBOUR_PER_SECOND, open_max: 2_000, patience: LIMIT };
    let load = Running::start(offer);
    pass(Duration::from_secs(seconds));
    let offered = load.stop();
    assert!(offered.unusual.is_empty() && offered.of("200").count() > 0, "{}", offered.table());
    assert_eq!(offered.held_back, 0, "who waits for long is counted");
    offered.of("200")
}

fn row(name: &str, times: &Times, ended: Option<u64>) {
    let ended = ended.map(|ended| ended.to_string()).unwrap_or_default();
    say(&format!("  {name:<38} {:>9.1?} {:>9.1?} {ended:>18}", times.at(50.0), times.at(99.0)));
}

/// Floods until it is stopped.
struct Flooding {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Flooding {
    fn start(to: SocketAddr, begin: fn(&mut Vec<u8>), next: fn(&mut Vec<u8>, u32)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = || {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut ended = 0;
                while !stop.load(Ordering::Relaxed) {
                    match TcpStream::connect(to) {
                        Ok(stream) => ended += u64::from(flood(stream, begin, next, &stop).is_err()),
                        // Connections that have just ended hold their ports for a while.
                        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                            pass(Duration::from_millis(1));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                ended
            })
        };
        let threads = std::iter::repeat_with(one).take(FLOODERS).collect();
        Self { stop, threads }
    }

    /// Ends it; how many connections the other side ended.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("who floods goes on")).sum()
    }
}

/// Floods a connection until it is stopped, or until the other side ends it, which is an error.
fn flood(
    mut stream: TcpStream,
    begin: fn(&mut Vec<u8>),
    next: fn(&mut Vec<u8>, u32),
    stop: &AtomicBool,
) -> io::Result<()> {
    stream.set_write_timeout(Some(LIMIT))?;
    let mut out = PREFACE.to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    begin(&mut out);
    let mut heard = [0; 16 * 1024];
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        (number..number + FRAMES).for_each(|number| next(&mut out, number));
        number += FRAMES;
        stream.write_all(&out)?;
        out.clear();
        // What is said in answer is taken, so that nothing waits for us.
        stream.set_nonblocking(true)?;
        match stream.read(&mut heard) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => stream.set_nonblocking(false)?,
        }
    }
    Ok(())
}

/// Takes whatever comes, and does nothing with it.
struct Elsewhere {
    address: SocketAddr,
}

impl Elsewhere {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        // They end with the process.
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                std::thread::spawn(move || {
                    let mut taken = [0; 16 * 1024];
                    while stream.read(&mut taken).is_ok_and(|bytes| bytes > 0) {}
                });
            }
        });
        Self { address }
    }
}
