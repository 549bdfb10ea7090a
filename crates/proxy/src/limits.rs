//! Limits of a data plane's connections, with the reason for each number. A process runs with the defaults; a test may
//! wait shorter.

use std::time::Duration;

/// Bounds on what peers may take of time and connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A request's head must be there so soon after its first byte. As Envoy's advice for an edge: a head fits into a few
    /// packets, and who needs longer holds a connection for nothing.
    pub head_timeout: Duration,
    /// TLS and the preface of HTTP/2 must be done so soon; also how long a new connection may say nothing.
    pub handshake_timeout: Duration,
    /// A connection between two requests is kept so long.
    pub idle_timeout: Duration,
    /// An exchange in which no byte moves in either direction ends after this, and so does a connection whose peer takes
    /// nothing of what is sent to it.
    pub stream_idle: Duration,
    /// After an answer that ends the connection, what the client still sends is read so long, so that it sees the answer
    /// and not a reset (RFC 9112, 9.6).
    pub linger: Duration,
    /// A client of HTTP/1.1 that ends its side so soon after its request still reads its answer (`nc -N`, a script); one that
    /// does it later has left. Long enough for a FIN that was sent right behind the request to be seen by a thread that has much to
    /// do, and short for patience.
    pub half_close: Duration,
    /// A body of announced length that has been coming for so long must come faster than a trickle (`BODY_RATE_MIN`): it holds a place
    /// toward its service meanwhile. What announces no length may be a stream of events, and is left alone.
    pub body_patience: Duration,
    /// Bytes of a request's body: a bound so that no request is without one. A stream that needs more uses several messages.
    pub body_bytes_max: u64,
    /// A tunnel, or a connection of raw TCP, in which no byte passes in either direction ends after this. Pools of connections to databases
    /// rest long.
    pub tunnel_idle: Duration,
    /// Open connections of one worker; for one more, the one that has been idle for longest makes room, or it is answered
    /// that there are too many.
    pub connections_max: usize,
    /// Open connections of one worker from one source (an address of IPv4, a /64 of IPv6) at the edge: a quarter of all, so
    /// that nobody alone can take every place. Trusted proxies speak for many and are not counted.
    pub connections_per_source_max: usize,
    /// How often a name is looked up again. The system's resolver tells no lifetime; this is what operators expect of a
    /// record that they change.
    pub lookup_again: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            stream_idle: Duration::from_secs(300),
            linger: Duration::from_secs(2),
            half_close: Duration::from_millis(500),
            body_patience: Duration::from_secs(60),
            body_bytes_max: 1 << 40,
            tunnel_idle: Duration::from_secs(3600),
            connections_max: 20_000,
            connections_per_source_max: 5_000,
            lookup_again: Duration::from_secs(30),
        }
    }
}
