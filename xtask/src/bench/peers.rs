//! The proxies that are compared, each configured as its users would for speed: one thread, connections kept open on both
//! sides, no log of each request. They route everything to one upstream; only Weft does more.

use std::path::Path;

use anyhow::Context as _;

use super::process::{Cpu, Process};
use super::scenario::{Kind, Scenario, UPSTREAM_PORT};
use super::{Place, weft};

/// A proxy, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Copies bytes: what no proxy can undercut.
    Forwarder,
    Nginx,
    Haproxy,
    Envoy,
    Weft,
}

/// A peer that serves.
pub(super) struct Running {
    /// Where load goes.
    pub(super) port: u16,
    /// What is measured.
    pub(super) measured: Vec<Process>,
    /// What has to run beside it. After `measured`: it ends later.
    #[expect(dead_code, reason = "held so that it goes on")]
    pub(super) beside: Vec<Process>,
}

impl Running {
    pub(super) fn cpu(&self) -> anyhow::Result<Cpu> {
        self.measured.iter().try_fold(Cpu::default(), |sum, process| Ok(sum + process.cpu()?))
    }

    pub(super) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.measured.iter().map(Process::resident_kib).sum()
    }
}

impl Peer {
    pub(super) const ALL: [Self; 5] = [Self::Forwarder, Self::Nginx, Self::Haproxy, Self::Envoy, Self::Weft];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forwarder => "forwarder",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Weft => "weft",
        }
    }

    pub(super) fn named(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|peer| peer.name() == name);
        found.with_context(|| {
            format!("there is no peer `{name}`; there are: {}", Self::ALL.map(Self::name).join(", "))
        })
    }

    /// Starts it for a scenario; `None` if this machine does not have it. It may use `port` and the few above it.
    pub(super) fn start(
        self,
        place: &Place,
        scenario: &Scenario,
        port: u16,
    ) -> anyhow::Result<Option<Running>> {
        let program = match self {
            Self::Weft => return weft::start(place, scenario, port).map(Some),
            Self::Forwarder => {
                let words = ["forwarder".to_owned(), port.to_string(), format!("127.0.0.1:{UPSTREAM_PORT}")];
                return started(place, &place.bench, &words, "forwarder", port).map(Some);
            }
            Self::Nginx => &place.nginx,
            Self::Haproxy => &place.haproxy,
            Self::Envoy => &place.envoy,
        };
        let Some(program) = program else { return Ok(None) };
        let inner = format!("{}-inner", self.name());
        let outer = format!("{}-outer", self.name());
        if scenario.kind != Kind::Pair {
            let sides = Sides {
                listen: scenario.tls.into(),
                connect: Side::Plain,
                grpc: scenario.grpc(),
                http2: scenario.http2(),
            };
            return self.one(place, program, &outer, &sides, port, UPSTREAM_PORT).map(Some);
        }
        let inside = Sides { listen: Side::Mutual, connect: Side::Plain, grpc: false, http2: false };
        let mut second = self.one(place, program, &inner, &inside, port + 1, UPSTREAM_PORT)?;
        let outside = Sides { listen: Side::Plain, connect: Side::Mutual, grpc: false, http2: false };
        let mut running = self.one(place, program, &outer, &outside, port, port + 1)?;
        running.measured.append(&mut second.measured);
        Ok(Some(running))
    }

    fn one(
        self,
        place: &Place,
        program: &Path,
        name: &str,
        sides: &Sides,
        port: u16,
        to: u16,
    ) -> anyhow::Result<Running> {
        let (file, text) = match self {
            Self::Nginx => ("nginx.conf", nginx(sides, port, to, &place.folder)),
            Self::Haproxy => ("haproxy.cfg", haproxy(sides, port, to, &place.folder)),
            _ => ("envoy.yaml", envoy(sides, port, to, &place.folder)),
        };
        let path = place.folder.join(format!("{name}-{file}"));
        std::fs::write(&path, text)?;
        let (path, folder) = (path.display().to_string(), place.folder.display().to_string());
        let words: Vec<&str> = match self {
            Self::Nginx => vec!["-p", &folder, "-e", "stderr", "-c", &path],
            Self::Haproxy => vec!["-db", "-f", &path],
            _ => vec!["-c", &path, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"],
        };
        started(place, program, &words, name, port)
    }
}

fn started(
    place: &Place,
    program: &Path,
    words: &[impl AsRef<std::ffi::OsStr>],
    name: &str,
    port: u16,
) -> anyhow::Result<Running> {
    let log = place.folder.join(format!("{name}.log"));
    let mut process = Process::start(place.cores.0, program, words, &log)?;
    process.wait_port(port).with_context(|| format!("{name}; see {}", log.display()))?;
    Ok(Running { port, measured: vec![process], beside: Vec::new() })
}

/// TLS on one side of a proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Plain,
    /// We show a certificate.
    Tls,
    /// Both do.
    Mutual,
}

impl From<bool> for Side {
    fn from(tls: bool) -> Self {
        if tls { Self::Tls } else { Self::Plain }
    }
}

/// What a proxy speaks on its two sides.
struct Sides {
    listen: Side,
    connect: Side,
    /// HTTP/2 without TLS from the client.
    http2: bool,
    /// HTTP/2 to the upstream, too.
    grpc: bool,
}

fn nginx(sides: &Sides, port: u16, to: u16, folder: &Path) -> String {
    let folder = folder.display();
    let listen = match (sides.listen, sides.http2) {
        (Side::Plain, true) => " http2",
        (Side::Plain, false) => "",
        _ => " ssl",
    };
    let certificate = format!(
        "ssl_certificate {folder}/leaf.pem; ssl_certificate_key {folder}/leaf.key; ssl_protocols TLSv1.3;"
    );
    let server = match sides.listen {
        Side::Plain => String::new(),
        Side::Tls => certificate,
        Side::Mutual => {
            format!("{certificate} ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;")
        }
    };
    let forward = match (sides.grpc, sides.connect) {
        (true, _) => "grpc_pass grpc://up;".to_owned(),
        (false, Side::Plain) => "proxy_pass http://up;".to_owned(),
        (false, _) => format!(
            "proxy_pass https://up; proxy_ssl_certificate {folder}/leaf.pem; proxy_ssl_certificate_key {folder}/leaf.key; \
             proxy_ssl_trusted_certificate {folder}/ca.pem; proxy_ssl_verify on; proxy_ssl_name localhost; \
             proxy_ssl_protocols TLSv1.3;"
        ),
    };
    format!(
        "daemon off; master_process off; pid {folder}/nginx-{port}.pid; error_log stderr warn; worker_processes 1;
         events {{ worker_connections 16384; }}
         http {{
           access_log off; keepalive_timeout 300s; keepalive_requests 1000000000; client_max_body_size 0;
           client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
           fastcgi_temp_path {folder}/nginx-fastcgi; uwsgi_temp_path {folder}/nginx-uwsgi; scgi_temp_path {folder}/nginx-scgi;
           client_body_buffer_size 64k; proxy_request_buffering off;
           proxy_buffer_size 32k; proxy_buffers 16 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
           upstream up {{ server 127.0.0.1:{to}; keepalive 1024; keepalive_requests 1000000000; }}
           server {{
             listen 127.0.0.1:{port}{listen}; {server}
             location / {{ {forward} proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
           }}
         }}\n"
    )
}

fn haproxy(sides: &Sides, port: u16, to: u16, folder: &Path) -> String {
    let folder = folder.display();
    let bind = match sides.listen {
        Side::Plain if sides.http2 => "proto h2".to_owned(),
        Side::Plain => String::new(),
        Side::Tls => format!("ssl crt {folder}/both.pem alpn http/1.1 ssl-min-ver TLSv1.3"),
        Side::Mutual => {
            format!(
                "ssl crt {folder}/both.pem ca-file {folder}/ca.pem verify required alpn http/1.1 ssl-min-ver TLSv1.3"
            )
        }
    };
    let server = match sides.connect {
        Side::Plain if sides.grpc => "proto h2".to_owned(),
        Side::Plain => String::new(),
        _ => format!(
            "ssl crt {folder}/both.pem ca-file {folder}/ca.pem verify required verifyhost localhost sni str(localhost) \
             alpn http/1.1 ssl-min-ver TLSv1.3"
        ),
    };
    format!(
        "global\n nbthread 1\n maxconn 8000\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 300s\n timeout server 300s\n \
         timeout http-keep-alive 300s\n http-reuse always\n\
         frontend f\n bind 127.0.0.1:{port} {bind}\n default_backend b\n\
         backend b\n server s 127.0.0.1:{to} {server}\n"
    )
}

fn envoy(sides: &Sides, port: u16, to: u16, folder: &Path) -> String {
    let folder = folder.display();
    let extensions = "type.googleapis.com/envoy.extensions";
    let pair = format!(
        "tls_certificates: [{{certificate_chain: {{filename: {folder}/leaf.pem}}, private_key: {{filename: {folder}/leaf.key}}}}], \
         tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}}"
    );
    let roots = format!("validation_context: {{trusted_ca: {{filename: {folder}/ca.pem}}}}");
    // Between the two of a pair HTTP/2, which costs Envoy less than its default.
    let listen = match sides.listen {
        Side::Plain => String::new(),
        side => {
            let (mutual, alpn) =
                if side == Side::Mutual { (format!(", {roots}"), "h2") } else { (String::new(), "http/1.1") };
            format!(
                "transport_socket: {{name: tls, typed_config: {{\"@type\": {extensions}.transport_sockets.tls.v3.DownstreamTlsContext, \
                 require_client_certificate: {}, common_tls_context: {{{pair}, alpn_protocols: [{alpn}]{mutual}}}}}}}",
                side == Side::Mutual
            )
        }
    };
    let connect = match sides.connect {
        Side::Plain => String::new(),
        _ => format!(
            "transport_socket: {{name: tls, typed_config: {{\"@type\": {extensions}.transport_sockets.tls.v3.UpstreamTlsContext, \
             sni: localhost, common_tls_context: {{{pair}, alpn_protocols: [h2], {roots}}}}}}}"
        ),
    };
    let http2 = if sides.grpc || sides.connect == Side::Mutual {
        format!(
            "typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{\"@type\": \
             {extensions}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {{http2_protocol_options: {{}}}}}}}}"
        )
    } else {
        String::new()
    };
    format!(
        "static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          \"@type\": {extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: i
          route_config: {{virtual_hosts: [{{name: a, domains: [\"*\"], routes: [{{match: {{prefix: /}}, route: {{cluster: up}}}}]}}]}}
          http_filters: [{{name: envoy.filters.http.router, typed_config: {{\"@type\": {extensions}.filters.http.router.v3.Router}}}}]
      {listen}
  clusters:
  - name: up
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 8192, max_pending_requests: 8192, max_requests: 8192}}]}}
    load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {to}}}}}}}}}]}}]}}
    {http2}
    {connect}
"
    )
}
