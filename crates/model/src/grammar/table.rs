//! The table: every key of the manifest.
//!
//! Read it from the top: [`MANIFEST`] is the file, each object below it one level deeper. Sentences are for people who
//! see them in their editor.

use super::lexical as l;
use super::{Entries, Form, Json, Key, Later, Object, Shape, Variables};

macro_rules! form {
    ($name:ident, $what:literal, $example:literal, $read:expr, $json:expr) => {
        form!($name, $what, $example, $read, $json, Variables::Refused);
    };
    ($name:ident, $what:literal, $example:literal, $read:expr, $json:expr, $variables:expr) => {
        static $name: Form = Form {
            what: $what,
            example: $example,
            read: |text| ($read)(text).map(drop),
            json: $json,
            variables: $variables,
        };
    };
}

const NAME_PATTERN: &str = "^[a-z][a-z0-9-]{0,62}$";
const DURATION_PATTERN: &str = "^0*[1-9][0-9]*(us|ms|s|m|h|d)$";
const PERCENT_PATTERN: &str = "^0*(100(\\.0{1,4})?|[0-9]{1,2}(\\.[0-9]{1,4})?)%$";
const ENDPOINT_PATTERN: &str = "^[a-z][a-z0-9-]*( +([A-Z-]+ +/.*|[A-Za-z_*].*/.+))?$";
const PLAIN_PATH_PATTERN: &str = "^/[^?#{}*\\s]*$";
const LISTEN_PATTERN: &str = "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[1-9][0-9]{0,4}$";
const HOST_PORT_PATTERN: &str = "^(\\[[0-9A-Fa-f:.]+\\]|[^:/@*\\[\\] ]+):[1-9][0-9]{0,4}$";

form!(NAME, "a name", "orders", l::name, Json::Pattern(NAME_PATTERN));
form!(CONTEXT, "the name of a context", "sales", l::context_name, Json::Pattern(NAME_PATTERN));
form!(SERVICE, "the name of a service", "orders", l::name, Json::Pattern(NAME_PATTERN));
form!(VERSION, "the name of a version", "v2", l::name, Json::Pattern(NAME_PATTERN));
form!(FILE, "the path of a file", "api/orders.openapi.yaml", l::file, Json::Pattern("."));
form!(FOLDER, "the path of a folder", "services/orders", l::file, Json::Pattern("."));
form!(COMMAND, "a command", "shop orders", l::command, Json::Pattern("."));
form!(TEXT, "text", "hello", l::free_text, Json::Pattern(""), Variables::Text);
form!(PORT, "a port", "7001", |t| l::integer(t, 1, 65_535), Json::Integer(1, 65_535));
form!(REPLICAS, "a number of copies", "2", |t| l::integer(t, 0, 100), Json::Integer(0, 100));
form!(DURATION, "a duration", "10s", l::duration, Json::Pattern(DURATION_PATTERN));
form!(
    RANGE,
    "a range of durations",
    "25ms..250ms",
    l::duration_range,
    Json::Pattern("^[0-9]+(us|ms|s|m|h|d)\\.\\.[0-9]+(us|ms|s|m|h|d)$")
);
form!(SHARE, "a share", "5%", l::percent, Json::Pattern(PERCENT_PATTERN));
form!(RATE, "a rate", "10/s", l::rate, Json::Pattern("^0*[1-9][0-9]*/(s|m|h|d)$"));
form!(ATTEMPTS, "a number of attempts", "2", |t| l::integer(t, 0, 10), Json::Integer(0, 10));
form!(FAILURES, "a number of failures", "7", |t| l::integer(t, 1, 1_000), Json::Integer(1, 1_000));
form!(REQUESTS, "a number of requests", "1024", |t| l::integer(t, 1, 1_000_000), Json::Integer(1, 1_000_000));
form!(QUEUED, "a number of requests", "1024", |t| l::integer(t, 0, 1_000_000), Json::Integer(0, 1_000_000));
form!(PROTOCOL, "a protocol", "grpc", l::protocol, Json::Words(&["http", "grpc", "tcp"]));
form!(
    URL,
    "a URL",
    "http://orders.internal:8080",
    l::service_url,
    Json::Pattern("^(https?://[^/@?#]+(/[^?#]*)?|tcp://[^/@?#]+:[0-9]+/?)$")
);
form!(HOST_PORT, "a host with a port", "api.stripe.com:443", l::host_port, Json::Pattern(HOST_PORT_PATTERN));
form!(ADDRESS, "an address", "127.0.0.1:8080", l::listen_address, Json::Pattern(LISTEN_PATTERN));
form!(NETWORK, "a network", "10.0.0.0/8", l::network, Json::Pattern("/[0-9]+$"));
form!(
    CALLEE,
    "a service or one of its endpoints",
    "orders GET /orders/{id}",
    l::callee,
    Json::Pattern(ENDPOINT_PATTERN)
);
form!(
    ROUTE,
    "a method and a path",
    "GET /orders/{id}",
    l::route_key,
    Json::Pattern("^[A-Z-]+ +[^ /?]*/[^ ?#]* *$")
);
form!(RELATION, "two contexts", "catalog > sales", l::relation, Json::Pattern(">"));
form!(
    RELATION_PATTERN,
    "a pattern of relation",
    "open-host",
    l::relation_pattern,
    Json::Words(&[
        "open-host",
        "customer-supplier",
        "conformist",
        "anticorruption",
        "partnership",
        "published-language",
        "shared-kernel",
        "separate-ways"
    ])
);
form!(
    VARIABLE,
    "the name of a variable",
    "DATABASE_URL",
    l::variable,
    Json::Pattern("^[A-Za-z_][A-Za-z0-9_]*$")
);
form!(VALUE, "text", "${DATABASE_URL}", l::free_text, Json::Anything, Variables::Filled);
form!(HEALTH, "a health probe", "/healthz", l::health, Json::Pattern("^(/[^?#{}*\\s]*|grpc|tcp)$"));
form!(HTTP_PATH, "a path", "/healthz", l::http_path, Json::Pattern(PLAIN_PATH_PATTERN));
form!(REWRITE, "a path", "/v2/orders", l::rewrite, Json::Pattern(PLAIN_PATH_PATTERN));
form!(TRUE, "`true`", "true", l::only_true, Json::True);
form!(BOOLEAN, "a boolean", "true", l::boolean, Json::Boolean);
form!(AUTH, "a way to authenticate", "none", l::auth, Json::Words(&["none"]));
form!(TLS, "a way to get certificates", "auto", l::tls, Json::Words(&["auto"]));
form!(
    REDIRECT,
    "a path or URL",
    "/new",
    l::redirect_target,
    Json::Pattern("^(/([^/\\s].*)?|https?://[^/?#\\s].*)$")
);
form!(
    REDIRECT_STATUS,
    "the status of a redirect",
    "308",
    l::redirect_status,
    Json::Numbers(&[301, 302, 303, 307, 308])
);
form!(STATUS, "a status", "503", l::status, Json::Integer(200, 599));
form!(FALLBACK, "a status", "503", l::fallback, Json::Integer(200, 599));
form!(
    FIELD,
    "the name of a header",
    "x-request-id",
    l::field_name,
    Json::Pattern("^[!#$%&'+.^_`|~0-9A-Za-z-]+$")
);
form!(
    EDGE_FIELD,
    "the name of a header of a request",
    "x-beta",
    l::edge_field_name,
    Json::Pattern("^[!#$%&'+.^`|~0-9A-Za-z-]+$")
);
form!(
    EDITABLE_FIELD,
    "a header that may be changed",
    "x-request-id",
    l::editable_field_name,
    Json::Pattern("^[!#$%&'+.^_`|~0-9A-Za-z-]+$")
);
form!(FIELD_VALUE, "the value of a header", "public", l::field_value, Json::Anything);
form!(QUERY, "the name of a query parameter", "page", l::query_name, Json::Pattern("."));
form!(QUERY_VALUE, "the value of a query parameter", "1", l::free_text, Json::Anything);
form!(METHOD, "a method", "GET", l::method, Json::Pattern("^[A-Z-]+$"));
form!(
    ORIGIN,
    "an origin",
    "https://shop.example",
    l::origin,
    Json::Pattern("^(\\*|[A-Za-z][A-Za-z0-9+.-]*://[^/?#*]+)$")
);
form!(
    MIRROR,
    "a service with a share",
    "orders-next 10%",
    l::mirror,
    Json::Pattern("^[a-z][a-z0-9-]*( +0*(100(\\.0{1,4})?|[0-9]{1,2}(\\.[0-9]{1,4})?)%)?$")
);
form!(NO_RETRY, "`none`", "none", l::no_retry, Json::Words(&["none"]));
form!(BALANCE, "a way to balance", "least_loaded", l::balance, Json::Words(&["least_loaded", "round_robin"]));
form!(RING, "what to hash", "header x-user", l::ring, Json::Pattern("^(address|(header|cookie) .+)$"));
form!(DOMAIN, "a trust domain", "shop.test", l::trust_domain, Json::Pattern("^[a-z0-9._-]{1,255}$"));
form!(
    METRICS,
    "an address or `none`",
    "127.0.0.1:9464",
    l::metrics,
    Json::Pattern("^(none|(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[1-9][0-9]{0,4})$")
);
form!(
    TRACES,
    "a receiver of traces or `none`",
    "otlp http://127.0.0.1:4317",
    l::traces,
    Json::Pattern("^(none|otlp https?://.+)$"),
    Variables::Filled
);
form!(
    OTLP,
    "the URL of an OTLP receiver",
    "http://127.0.0.1:4317",
    l::otlp_url,
    Json::Pattern("^https?://"),
    Variables::Filled
);
form!(OVER, "an OTLP transport", "grpc", l::traces_over, Json::Words(&["grpc", "http"]));
form!(
    ACCESS_LOG,
    "`off`, `full` or a share",
    "1%",
    l::access_log,
    Json::Pattern("^(off|full|0*(100(\\.0{1,4})?|[0-9]{1,2}(\\.[0-9]{1,4})?)%)$")
);

/// A key; what differs from this is set behind it.
const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, doc, default: "", example: "", required: false }
}

impl Key {
    const fn default(self, default: &'static str) -> Key {
        Key { default, ..self }
    }

    const fn example(self, example: &'static str) -> Key {
        Key { example, ..self }
    }

    const fn required(self) -> Key {
        Key { required: true, ..self }
    }
}

const fn later(name: &'static str, doc: &'static str) -> Later {
    Later { name, doc }
}

/// Keys of the whole that a team's file (an included one) may say.
pub const TEAM_KEYS: &[&str] =
    &["include", "contexts", "relations", "services", "gateway", "resilience", "rollout"];

/// The file.
pub static MANIFEST: Object = Object {
    path: "weft.yaml",
    doc: "The whole file. Other files (`include`) and an overlay (`--env NAME` merges `weft.NAME.yaml`) have the same keys.",
    keys: &[
        key("system", Shape::scalar(&NAME), "Name of the system.").example("shop").required(),
        key(
            "include",
            Shape::list(&Shape::scalar(&FILE)),
            "Files of teams, relative to this file. Such a file speaks only for the contexts that it declares itself.",
        )
        .example("[team-sales.yaml]"),
        key(
            "contexts",
            Shape::entries(&Entries {
                key: &CONTEXT,
                value: Shape::list(&Shape::scalar(&SERVICE)),
            }),
            "Bounded contexts, each with the services that belong to it. A service belongs to at most one. Where there is any \
             context, every service that calls another belongs to one, and so does every one that is called.",
        )
        .example("{ sales: [orders, payments] }"),
        key(
            "relations",
            Shape::list(&Shape::entries(&Entries { key: &RELATION, value: Shape::scalar(&RELATION_PATTERN) })),
            "How two contexts may talk: `upstream > downstream: pattern`. Across contexts, what is not listed is denied. \
             `any` as the downstream stands for every context.",
        )
        .example("[catalog > sales: open-host]"),
        key(
            "services",
            Shape::entries(&Entries { key: &SERVICE, value: Shape::object(&SERVICE_KEYS) }),
            "The services, by name.",
        )
        .example("{ orders: { run: \"shop orders\", port: 7005 } }"),
        key(
            "external",
            Shape::list(&Shape::scalar(&HOST_PORT)),
            "Hosts outside the system that every service may reach through its sidecar. Better said at the one service that needs it.",
        )
        .default("none")
        .example("[\"api.stripe.com:443\"]"),
        key("gateway", Shape::object(&GATEWAY), "The edge: where the system is reached from outside. No gateway where absent.")
            .example("{ listen: \"127.0.0.1:8080\", auth: none, routes: { ANY /orders/**: orders } }"),
        key(
            "resilience",
            Shape::entries(&Entries { key: &SERVICE, value: Shape::object(&RESILIENCE) }),
            "Time limits and recovery toward a service, by the service that is called. Only what differs from the defaults.",
        )
        .example("{ pricing: { timeout: 300ms, retry: none } }"),
        key(
            "rollout",
            Shape::entries(&Entries {
                key: &SERVICE,
                value: Shape::entries(&Entries {
                    key: &VERSION,
                    value: Shape::object(&ROLLOUT).or_scalar(&SHARE),
                }),
            }),
            "Shares of the versions of a service; what is left goes to `v1`.",
        )
        .example("{ catalog: { v2: 5% } }"),
        key("trust", Shape::object(&TRUST), "Who is trusted.").example("{ domain: shop.test }"),
        key("observe", Shape::object(&OBSERVE), "What is recorded and where it goes.")
            .example("{ metrics: \"127.0.0.1:9464\" }"),
    ],
    later: &[
        later("facades", "services made of joins"),
        later("batch", "single calls that become one bulk call"),
        later("prefetch", "calls that are made ahead"),
        later("collapse", "equal calls that become one"),
        later("cache", "answers that are kept"),
        later("expect", "call budgets and silenced findings"),
        later("brokers", "outside messaging systems"),
        later("schemas", "schemas of events"),
        later("channels", "topics and queues"),
        later("views", "read models folded from events"),
        later("sagas", "long processes with undo"),
        later("zones", "segmentation"),
        later("secrets", "stores of secrets"),
        later("audit", "the audit trail and its sinks"),
        later("scan", "scanning for known vulnerabilities"),
        later("deploy", "images for rendered deployments"),
    ],
    short: None,
};

static SERVICE_KEYS: Object = Object {
    path: "services.NAME",
    doc: "A service: what starts it or where it runs, what it speaks, what it calls. One of `run` and `url` is needed.",
    keys: &[
        key(
            "run",
            Shape::scalar(&COMMAND),
            "Words that start the service, split as a shell would, run without a shell. It must listen on 127.0.0.1 at the port in `PORT`.",
        )
        .example("\"node server.js\""),
        key(
            "build",
            Shape::scalar(&COMMAND),
            "A command before the first start. The same command of several services runs once.",
        )
        .example("\"cargo build --release\""),
        key("url", Shape::scalar(&URL), "Where the service runs, if not here: it is not started and has no sidecar.")
            .example("https://users.internal"),
        key("port", Shape::scalar(&PORT), "Port that the service listens on; given to it as `PORT`. With `replicas`, that of the first copy: each of the others gets a free one.")
            .default("a free port")
            .example("7001"),
        key("protocol", Shape::scalar(&PROTOCOL), "What the service speaks.")
            .default("grpc with a `.proto` api, http with an OpenAPI one; else seen by itself, connection by connection")
            .example("grpc"),
        key(
            "api",
            Shape::scalar(&FILE),
            "OpenAPI 3 or `.proto` file, relative to the manifest. Its operations are checked in `calls` and routes, name metrics, and say what may be retried. Paths are as the service gets them: `servers` is not looked at.",
        )
        .example("api/orders.openapi.yaml"),
        key(
            "calls",
            Shape::list(&Shape::scalar(&CALLEE)),
            "Services, or single endpoints of them, that this service calls. What is not listed is denied at the callee. Each gives the service a variable such as `CATALOG_URL`.",
        )
        .default("nothing is called")
        .example("[catalog, \"inventory GET /stock/{sku}\"]"),
        key("replicas", Shape::scalar(&REPLICAS), "Copies; `0` for none, and nobody waits for it.").default("1").example("2"),
        key(
            "env",
            Shape::entries(&Entries { key: &VARIABLE, value: Shape::scalar(&VALUE) }),
            "Further variables of the process. `${NAME}` is filled in from the environment of `weft`, `$${` stands for `${`.",
        )
        .example("{ DATABASE_URL: \"${ORDERS_DB}\" }"),
        key("cwd", Shape::scalar(&FOLDER), "Folder of the process, relative to the manifest.")
            .default("the manifest's folder")
            .example("services/orders"),
        key("health", Shape::object(&HEALTH_KEYS).or_scalar(&HEALTH), "How to see that the service is well.")
            .default("grpc for protocol grpc, else a connection")
            .example("/healthz"),
        key(
            "external",
            Shape::list(&Shape::scalar(&HOST_PORT)),
            "Hosts outside the system that this service may reach through its sidecar (`HTTP_PROXY`).",
        )
        .default("none")
        .example("[\"api.stripe.com:443\"]"),
        key(
            "versions",
            Shape::entries(&Entries { key: &VERSION, value: Shape::object(&VERSION_KEYS) }),
            "Further versions that run beside this one, which is `v1`. Each says only what differs.",
        )
        .example("{ v2: { run: \"shop catalog --new\" } }"),
    ],
    later: &[
        later("publishes", "channels that the service publishes to"),
        later("subscribes", "channels that the service listens to"),
        later("secrets", "secrets that the service is given"),
        later("image", "the image of a rendered deployment"),
    ],
    short: None,
};

static VERSION_KEYS: Object = Object {
    path: "services.NAME.versions.NAME",
    doc: "A version of a service. What is not said is as in the service itself.",
    keys: &[
        key("run", Shape::scalar(&COMMAND), "See `services.NAME.run`.").example("\"shop catalog --new\""),
        key("build", Shape::scalar(&COMMAND), "See `services.NAME.build`."),
        key(
            "env",
            Shape::entries(&Entries { key: &VARIABLE, value: Shape::scalar(&VALUE) }),
            "Added to the service's; of a variable in both, this one holds.",
        ),
        key("cwd", Shape::scalar(&FOLDER), "See `services.NAME.cwd`."),
        key("port", Shape::scalar(&PORT), "See `services.NAME.port`.").default("a free port"),
        key("replicas", Shape::scalar(&REPLICAS), "Copies of this version.")
            .default("as many as of the service"),
    ],
    later: &[],
    short: None,
};

static HEALTH_KEYS: Object = Object {
    path: "services.NAME.health",
    doc: "The long form of `health`: one probe, how often and how long.",
    keys: &[
        key("path", Shape::scalar(&HTTP_PATH), "`GET` this path; 2xx and 3xx are well.").example("/healthz"),
        key("grpc", Shape::scalar(&TRUE), "Ask `grpc.health.v1.Health`.").example("true"),
        key("tcp", Shape::scalar(&TRUE), "Make a connection.").example("true"),
        key("interval", Shape::scalar(&DURATION), "Time between probes.").default("1s"),
        key("timeout", Shape::scalar(&DURATION), "Limit of one probe.").default("1s"),
    ],
    later: &[],
    short: None,
};

static GATEWAY: Object = Object {
    path: "gateway",
    doc: "The edge.",
    keys: &[
        key(
            "listen",
            Shape::list(&Shape::scalar(&ADDRESS)).or_scalar(&ADDRESS),
            "Address, or addresses, to listen on.",
        )
        .default("127.0.0.1:8080; 127.0.0.1:8443 with `tls`")
        .example("\"127.0.0.1:8080\""),
        key(
            "tls",
            Shape::object(&TLS_KEYS).or_scalar(&TLS),
            "`auto` takes a certificate of the built-in authority, for development; the long form names files.",
        )
        .default("plain HTTP")
        .example("{ cert: edge.pem, key: edge.key }"),
        key(
            "trusted_proxies",
            Shape::list(&Shape::scalar(&NETWORK)),
            "Networks of proxies in front whose `Forwarded` and `X-Forwarded-*` are believed. From anybody else they are removed. \
             Their connections are not counted as of one source: they speak for many.",
        )
        .default("none")
        .example("[10.0.0.0/8]"),
        key("auth", Shape::scalar(&AUTH), "`none` opens all routes. Nothing is open by silence: it is said here or at each route.")
            .example("none"),
        key("timeout", Shape::scalar(&DURATION), "Limit of a whole exchange. One that is said covers the body of the response too; the default ends with its head, so that streams go on.").default("15s"),
        key("cors", Shape::object(&CORS), "Cross-origin rules of all routes.").default("no cross-origin access"),
        key(
            "routes",
            Shape::entries(&Entries { key: &ROUTE, value: Shape::object(&ROUTE_KEYS).or_scalar(&CALLEE) }),
            "What is answered: `METHOD /path`, optionally with a host in front (`GET shop.test/path`). The longest literal path \
             wins, then the method. The short form is the service, or the endpoint of it, that answers.",
        )
        .example("{ ANY /orders/**: orders }"),
    ],
    later: &[
        later("limit", "rate limits at the edge"),
        later("batch", "many requests in one"),
    ],
    short: None,
};

static TLS_KEYS: Object = Object {
    path: "gateway.tls",
    doc: "Certificate of the edge, in PEM files relative to the manifest.",
    keys: &[
        key("cert", Shape::scalar(&FILE), "The chain, leaf first.").example("edge.pem").required(),
        key("key", Shape::scalar(&FILE), "The private key.").example("edge.key").required(),
    ],
    later: &[],
    short: None,
};

static ROUTE_KEYS: Object = Object {
    path: "gateway.routes.KEY",
    doc: "The long form of a route. Exactly one of `to`, `redirect` and `respond` is needed.",
    keys: &[
        key(
            "to",
            Shape::entries(&Entries { key: &CALLEE, value: Shape::scalar(&SHARE) }).or_scalar(&CALLEE),
            "The service that answers; with `METHOD /path`, method and path of the callee; as a map, several with their shares.",
        )
        .example("{ orders: 90%, orders-next: 10% }"),
        key("rewrite", Shape::scalar(&REWRITE), "Replaces the literal part of the route's path before its first wildcard.")
            .example("/v2/orders"),
        key("redirect", Shape::object(&REDIRECT_KEYS).or_scalar(&REDIRECT), "Answers with `Location`. Parameters of the route's path are filled in.")
            .example("/new/{id}"),
        key("respond", Shape::object(&ANSWER), "A fixed answer.").example("{ status: 204 }"),
        key("match", Shape::object(&MATCH), "Further conditions.").example("{ headers: { x-beta: \"yes\" } }"),
        key("timeout", Shape::scalar(&DURATION), "Limit of a whole exchange.").default("the gateway's"),
        key("headers", Shape::object(&HEADERS), "Headers to set and to remove.")
            .example("{ response: { set: { cache-control: no-store } } }"),
        key("cors", Shape::object(&CORS), "Cross-origin rules in place of the gateway's."),
        key("mirror", Shape::object(&MIRROR_KEYS).or_scalar(&MIRROR), "A copy of a share of the requests goes there too; its answers are dropped.")
            .example("orders-next 10%"),
        key("auth", Shape::scalar(&AUTH), "`none` opens this route.").default("the gateway's"),
    ],
    later: &[
        later("limit", "rate limits of the route"),
        later("publish", "a route that publishes an event"),
        later("view", "a route that reads a view"),
        later("join", "one endpoint answered from several"),
        later("shape", "the shape of a joined answer"),
        later("deadline", "the deadline of a join"),
    ],
    short: Some("to"),
};

static REDIRECT_KEYS: Object = Object {
    path: "gateway.routes.KEY.redirect",
    doc: "The long form of `redirect`.",
    keys: &[
        key("to", Shape::scalar(&REDIRECT), "A path or an absolute URL.")
            .example("https://example.org/new")
            .required(),
        key("status", Shape::scalar(&REDIRECT_STATUS), "301, 302, 303, 307 or 308.").default("307"),
    ],
    later: &[],
    short: Some("to"),
};

static ANSWER: Object = Object {
    path: "gateway.routes.KEY.respond, resilience.NAME.fallback",
    doc: "A fixed answer.",
    keys: &[
        key("status", Shape::scalar(&STATUS), "The status.").example("200").required(),
        key(
            "headers",
            Shape::entries(&Entries { key: &EDITABLE_FIELD, value: Shape::scalar(&FIELD_VALUE) }),
            "Headers.",
        )
        .example("{ content-type: application/json }"),
        key("body", Shape::scalar(&TEXT), "The body.").default("empty").example("\"{}\""),
    ],
    later: &[],
    short: Some("status"),
};

static MATCH: Object = Object {
    path: "gateway.routes.KEY.match",
    doc: "Conditions beside method, host and path; all must hold. The value `\"*\"` means: it is there.",
    keys: &[
        key(
            "headers",
            Shape::entries(&Entries { key: &EDGE_FIELD, value: Shape::scalar(&FIELD_VALUE) }),
            "Headers with their values.",
        )
        .example("{ x-beta: \"yes\" }"),
        key(
            "query",
            Shape::entries(&Entries { key: &QUERY, value: Shape::scalar(&QUERY_VALUE) }),
            "Query parameters with their values.",
        )
        .example("{ page: \"*\" }"),
    ],
    later: &[],
    short: None,
};

static HEADERS: Object = Object {
    path: "gateway.routes.KEY.headers",
    doc: "Edits of headers.",
    keys: &[
        key("request", Shape::object(&EDITS), "On the way to the service."),
        key("response", Shape::object(&EDITS), "On the way back."),
    ],
    later: &[],
    short: None,
};

static EDITS: Object = Object {
    path: "gateway.routes.KEY.headers.request, .response",
    doc: "Removes first, then sets.",
    keys: &[
        key(
            "set",
            Shape::entries(&Entries { key: &EDITABLE_FIELD, value: Shape::scalar(&FIELD_VALUE) }),
            "Replaces all headers of that name.",
        )
        .example("{ cache-control: no-store }"),
        key("remove", Shape::list(&Shape::scalar(&EDITABLE_FIELD)), "Takes away all headers of that name.")
            .example("[server]"),
    ],
    later: &[],
    short: None,
};

static CORS: Object = Object {
    path: "gateway.cors, gateway.routes.KEY.cors",
    doc: "Which pages of other origins may read answers. Preflights are answered by the gateway.",
    keys: &[
        key("origins", Shape::list(&Shape::scalar(&ORIGIN)), "Exact origins, or `*` alone.")
            .example("[\"https://shop.example\"]")
            .required(),
        key("methods", Shape::list(&Shape::scalar(&METHOD)), "Methods that a page may use.")
            .default("the route's method; GET, HEAD, POST, PUT, PATCH, DELETE for `ANY`"),
        key("headers", Shape::list(&Shape::scalar(&EDGE_FIELD)), "Request headers that a page may set.")
            .default("none"),
        key("expose", Shape::list(&Shape::scalar(&FIELD)), "Response headers that a page may read.")
            .default("none"),
        key("credentials", Shape::scalar(&BOOLEAN), "Whether cookies may be sent; never together with `*`.")
            .default("false"),
        key("max_age", Shape::scalar(&DURATION), "How long a browser may keep a preflight.").default("10m"),
    ],
    later: &[],
    short: None,
};

static MIRROR_KEYS: Object = Object {
    path: "gateway.routes.KEY.mirror",
    doc: "The long form of `mirror`.",
    keys: &[
        key("to", Shape::scalar(&SERVICE), "The service that gets the copies.")
            .example("orders-next")
            .required(),
        key("share", Shape::scalar(&SHARE), "Share of the requests.").default("100%"),
    ],
    later: &[],
    short: None,
};

static RESILIENCE: Object = Object {
    path: "resilience.NAME",
    doc: "Time limits and recovery toward one service.",
    keys: &[
        key(
            "timeout",
            Shape::scalar(&DURATION),
            "Limit of a whole exchange with the service, retries included. One that is said covers the body too, as at the gateway.",
        )
        .default("15s"),
        key("per_try_timeout", Shape::scalar(&DURATION), "Limit of one try.").default("what is left"),
        key("connect_timeout", Shape::scalar(&DURATION), "Limit for making a connection.").default("1s"),
        key(
            "retry",
            Shape::object(&RETRY).or_scalar(&NO_RETRY),
            "Repetition of what is idempotent (or carries `idempotency-key`). `none` turns it off.",
        )
        .example("{ attempts: 2 }"),
        key("breaker", Shape::object(&BREAKER), "When an instance is left out for a while.")
            .example("{ failures: 7 }"),
        key("limit", Shape::object(&LIMIT), "Concurrency toward the service.")
            .example("{ open: 100, queued: 50 }"),
        key(
            "fallback",
            Shape::object(&ANSWER).or_scalar(&FALLBACK),
            "A fixed answer when the service cannot: a status, or the long form.",
        )
        .default("the fault itself")
        .example("{ status: 200, body: \"[]\" }"),
        key("balance", Shape::object(&RING_KEYS).or_scalar(&BALANCE), "How an instance is chosen.")
            .default("least_loaded")
            .example("{ ring: header x-user }"),
    ],
    later: &[],
    short: None,
};

static RETRY: Object = Object {
    path: "resilience.NAME.retry",
    doc: "What differs from the defaults of repetition.",
    keys: &[
        key("attempts", Shape::scalar(&ATTEMPTS), "Attempts after the first.").default("1"),
        key(
            "backoff",
            Shape::scalar(&RANGE),
            "Shortest and longest wait before an attempt, with full jitter.",
        )
        .default("25ms..250ms"),
        key("budget", Shape::scalar(&SHARE), "Share of retries over requests in the last 10 s.")
            .default("20%"),
        key("floor", Shape::scalar(&RATE), "Retries that are allowed whatever the share.").default("10/s"),
    ],
    later: &[],
    short: None,
};

static BREAKER: Object = Object {
    path: "resilience.NAME.breaker",
    doc: "An instance that fails is left out for 1 s, doubling to 60 s; never more than half of them.",
    keys: &[
        key("failures", Shape::scalar(&FAILURES), "Failures in a row.").default("7"),
        key("success", Shape::scalar(&SHARE), "Success rate over 10 s below which it is left out.")
            .default("80%"),
    ],
    later: &[],
    short: None,
};

static LIMIT: Object = Object {
    path: "resilience.NAME.limit",
    doc: "Requests beyond both numbers are refused with 503 and `Retry-After`. Each caller counts its own, and in the gateway each \
          worker thread (one for each core).",
    keys: &[
        key("open", Shape::scalar(&REQUESTS), "Requests open at once.").default("1024"),
        key("queued", Shape::scalar(&QUEUED), "Requests that wait for a place.").default("1024"),
    ],
    later: &[],
    short: None,
};

static RING_KEYS: Object = Object {
    path: "resilience.NAME.balance",
    doc: "Consistent hashing.",
    keys: &[key("ring", Shape::scalar(&RING), "What is hashed: `header NAME`, `cookie NAME` or `address`.")
        .example("header x-user")
        .required()],
    later: &[],
    short: None,
};

static ROLLOUT: Object = Object {
    path: "rollout.NAME.VERSION",
    doc: "The long form of a share. At least one of the two is needed.",
    keys: &[
        key("weight", Shape::scalar(&SHARE), "Share of the requests.").default("0%"),
        key(
            "header",
            Shape::entries(&Entries { key: &FIELD, value: Shape::scalar(&FIELD_VALUE) }),
            "Requests with this header go to this version, whatever the share. `\"*\"` means: it is there.",
        )
        .example("{ x-canary: \"yes\" }"),
    ],
    later: &[],
    short: Some("weight"),
};

static TRUST: Object = Object {
    path: "trust",
    doc: "Who is trusted.",
    keys: &[key("domain", Shape::scalar(&DOMAIN), "SPIFFE trust domain of the system's identities.")
        .default("SYSTEM.internal")
        .example("shop.test")],
    later: &[
        later("issuers", "who issues tokens"),
        later("roles", "roles and what they may do"),
        later("policies", "Cedar policies"),
        later("allow_ips", "networks that may do something"),
    ],
    short: None,
};

static OBSERVE: Object = Object {
    path: "observe",
    doc: "What is recorded and where it goes.",
    keys: &[
        key(
            "metrics",
            Shape::scalar(&METRICS),
            "Where the metrics of the whole system are served, at `/metrics`; `none` for nowhere.",
        )
        .default("127.0.0.1:9464"),
        key(
            "istio_names",
            Shape::scalar(&BOOLEAN),
            "Whether requests and bytes are also counted by the names that dashboards of Istio ask for (`istio_requests_total` and others).",
        )
        .default("true"),
        key(
            "istio_durations",
            Shape::scalar(&BOOLEAN),
            "Whether durations are also told as `istio_request_duration_milliseconds`. Dashboards of Istio ask for it; `promtool check metrics` refuses its unit.",
        )
        .default("false"),
        key(
            "traces",
            Shape::object(&TRACES_KEYS).or_scalar(&TRACES),
            "Where traces go: `none` or `otlp URL`.",
        )
        .default("none"),
        key(
            "access_log",
            Shape::scalar(&ACCESS_LOG),
            "One line for each exchange: none, all, or a share of them and all errors.",
        )
        .default("off"),
    ],
    later: &[],
    short: None,
};

static TRACES_KEYS: Object = Object {
    path: "observe.traces",
    doc: "The long form of `traces`.",
    keys: &[
        key(
            "otlp",
            Shape::scalar(&OTLP),
            "URL of an OTLP receiver. `${NAME}` is filled in from the environment.",
        )
        .example("http://127.0.0.1:4317")
        .required(),
        key("over", Shape::scalar(&OVER), "Transport.").default("grpc"),
        key(
            "sample",
            Shape::scalar(&SHARE),
            "Share of new traces that are recorded; a recorded parent is always followed.",
        )
        .default("1%"),
    ],
    later: &[],
    short: None,
};
