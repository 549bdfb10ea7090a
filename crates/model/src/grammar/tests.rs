//! The table's own tests: what each form takes, and what is said of anything else.

use std::collections::HashSet;

use regex_automata::nfa::thompson::pikevm::PikeVM;

use super::*;
use crate::finding::FileId;
use crate::yaml;

/// Every example of the table passes the check of its own key, so that no remedy names what would be refused.
#[test]
fn every_example_is_right() {
    for object in objects() {
        for key in object.keys.iter().filter(|key| !key.example.is_empty()) {
            let text = format!("{}: {}\n", key.name, key.example);
            let (tree, findings) = yaml::parse(FileId(0), text.as_bytes());
            assert_eq!(findings, [], "{}: {text}", object.path);
            let environment = [("ORDERS_DB".to_owned(), "x".to_owned())].into();
            let findings = check::check(&tree.unwrap(), object, false, &environment);
            assert_eq!(findings, [], "{}: {text}", object.path);
        }
    }
}

#[test]
fn a_name_stands_once_in_its_object_and_every_key_says_what_it_does() {
    for object in objects() {
        let mut names = HashSet::new();
        let later = object.later.iter().map(|later| later.name);
        for name in object.keys.iter().map(|key| key.name).chain(later) {
            assert!(names.insert(name), "{}: {name}", object.path);
        }
        for key in object.keys {
            assert!(key.doc.ends_with('.'), "{}.{}: {}", object.path, key.name, key.doc);
        }
    }
}

#[test]
fn every_form_takes_its_own_example() {
    fn visit(shape: &Shape) {
        if let Some(form) = shape.scalar {
            assert_eq!(
                (form.read)(form.example).is_ok(),
                !form.example.contains("${") || form.variables == Variables::Filled,
                "{form:?}"
            );
        }
        if let Some(item) = shape.list {
            visit(item);
        }
        if let Some(Fields::Entries(entries)) = shape.map {
            assert!((entries.key.read)(entries.key.example).is_ok(), "{:?}", entries.key);
            visit(&entries.value);
        }
    }
    objects().iter().flat_map(|object| object.keys).for_each(|key| visit(&key.shape));
}

/// Every form with a pattern, keys of maps too.
fn patterns() -> Vec<(&'static Form, &'static str)> {
    fn visit(shape: &Shape, found: &mut Vec<(&'static Form, &'static str)>) {
        let key =
            shape.map.and_then(|map| if let Fields::Entries(entries) = map { Some(entries) } else { None });
        for form in shape.scalar.into_iter().chain(key.map(|entries| entries.key)) {
            if let Json::Pattern(pattern) = form.json {
                found.push((form, pattern));
            }
        }
        shape.list.into_iter().for_each(|item| visit(item, found));
        key.into_iter().for_each(|entries| visit(&entries.value, found));
    }
    let mut found = Vec::new();
    objects().iter().flat_map(|object| object.keys).for_each(|key| visit(&key.shape, &mut found));
    found
}

fn fits(pattern: &str, text: &str) -> bool {
    let pattern = PikeVM::new(pattern).unwrap();
    pattern.is_match(&mut pattern.create_cache(), text)
}

/// An editor that marks what `weft check` takes is worse than one that marks nothing.
#[test]
fn no_pattern_of_the_schema_refuses_what_is_read() {
    let forms = patterns();
    let mut texts: Vec<&str> = forms.iter().map(|(form, _)| form.example).collect();
    texts.extend([
        "a",
        "a-1",
        "0s",
        "1us",
        "007ms",
        "36500d",
        "1.5s",
        "0%",
        "00.5%",
        "100%",
        "100.0000%",
        "100.0001%",
        "99.9999%",
        "1/d",
        "none",
        "off",
        "full",
        "address",
        "cookie sid",
        "header  X-User",
        "/",
        "//",
        "/a b",
        "/\u{fc}",
        "/a/{b}",
        "/a/*",
        "/a/**",
        "http://h",
        "https://h:1/a/b@c",
        "http://[::1]:80/",
        "tcp://h:1",
        "tcp://h:1/",
        "http://u@h",
        "http://h?q",
        "HTTP://H",
        "h:1",
        "[::1]:80",
        "1.2.3.4:65535",
        "h:065",
        "h:0",
        ":80",
        "*.h:1",
        "HOST:1",
        "::/0",
        "10.0.0.0/8",
        "10.0.0.0",
        "a GET /b",
        "a  GET  /b/{c}",
        "a ANY /**",
        "a M-SEARCH /b",
        "a p.S/M",
        "a p.S/*",
        "a S/M",
        "a GET",
        "a /b",
        "a p.S",
        "a GET /b?c={d}",
        "GET /",
        "GET  /a",
        "GET /a ",
        "ANY *.h.test/a/**",
        "GET [::1]/a",
        "GET H.test/a",
        "get /a",
        "GET|PUT /a",
        "M-SEARCH /a",
        "GET /\u{fc}",
        "GET /a?b",
        "a > b",
        "a>b",
        "a > any",
        "A_1",
        "_",
        "1A",
        "x_y",
        "x-y",
        "*",
        "X.Y",
        "a 5%",
        "a  0.5%",
        "a 101%",
        "a %",
        "https://h",
        "HTTPS://H:8443",
        "https://h/",
        "https://*.h",
        "ftp://h",
        "/new",
        "/new/{id}?a=b#c",
        "//h",
        "/a//b",
        "https://h",
        "http://{a}.h:{b}/c",
        "https:///c",
        "otlp http://h:1",
        "otlp  https://h/v1",
        "otlp h",
        "..",
        "a b c",
        "",
        "100-continue",
    ]);
    let mut wrong = Vec::new();
    for (form, pattern) in &forms {
        let refused = texts.iter().filter(|text| (form.read)(text).is_ok() && !fits(pattern, text));
        wrong.extend(refused.map(|text| format!("{form:?}: `{text}` is read, and is no `{pattern}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn patterns_of_the_schema_refuse_common_slips() {
    let forms = patterns();
    for (what, slip) in [
        ("a duration", "0s"),
        ("a duration", "10"),
        ("a share", "101%"),
        ("a share", "5"),
        ("a rate", "0/s"),
        ("a URL", "http://user:secret@h"),
        ("a URL", "http://h/?a=1"),
        ("a URL", "tcp://h"),
        ("an address", ":80"),
        ("an address", "localhost:80"),
        ("an address", "127.0.0.1:0"),
        ("a host with a port", "https://h:443"),
        ("a host with a port", "*.h:443"),
        ("a path", "/a?b"),
        ("a health probe", "/a b"),
        ("a service or one of its endpoints", "b GET"),
        ("a service or one of its endpoints", "b /x"),
        ("a method and a path", "GET|POST /a"),
        ("a method and a path", "GET /a?b=c"),
        ("an origin", "https://h/"),
        ("an origin", "https://*.h"),
        ("a path or URL", "//h"),
        ("a path or URL", "https:///h"),
        ("a service with a share", "a 101%"),
        ("`off`, `full` or a share", "150%"),
        ("the name of a header of a request", "x_user"),
    ] {
        let mut named = forms.iter().filter(|(form, _)| form.what == what).peekable();
        assert!(named.peek().is_some(), "{what}");
        assert!(named.all(|(_, pattern)| !fits(pattern, slip)), "{what}: `{slip}`");
    }
}

#[test]
fn the_schema_refers_only_to_what_it_defines() {
    let schema = schema();
    let text = schema.to_string();
    for part in text.split("\"$ref\":\"#/$defs/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name}");
    }
    assert_eq!(schema["$defs"].as_object().unwrap().len(), objects().len(), "two objects share a name");
    let port = &schema["$defs"]["services-NAME"]["properties"]["port"];
    assert_eq!((&port["type"], &port["maximum"]), (&"integer".into(), &65_535.into()));
    assert_eq!(schema["$defs"]["services-NAME"]["properties"]["publishes"]["not"], serde_json::json!({}));
}

#[test]
fn variables_are_filled_in() {
    let environment = [("A".to_owned(), "1".to_owned()), ("B_2".to_owned(), "two".to_owned())].into();
    let fill = |text: &str| variables::fill(text, &environment);
    assert_eq!(fill("x${A}y${B_2}").unwrap(), "x1ytwo");
    assert_eq!(fill("$${A} $A ${A}").unwrap(), "${A} $A 1");
    assert_eq!(fill("${C}${D").unwrap_err().len(), 2);
    assert_eq!(fill("${secret:vault/x}").unwrap_err()[0].code, crate::code::Code::NotBuilt);
    assert!(fill("${A:-b}").unwrap_err()[0].why.contains("no default"));
}

/// What the table tells people is what `derive` fills in.
#[test]
fn the_defaults_are_those_that_are_used() {
    use std::time::Duration;

    use crate::defaults as d;
    use weft_stdx::units::show_duration;

    let ms = |ms: u64| show_duration(Duration::from_millis(ms)).to_string();
    let said = |path: &str, key: &str| {
        let object = objects().into_iter().find(|object| object.path.split(", ").next() == Some(path));
        object.unwrap_or_else(|| panic!("{path}")).key(key).unwrap_or_else(|| panic!("{path}.{key}")).default
    };
    let listen = format!("{}; {} with `tls`", d::GATEWAY_LISTEN, d::GATEWAY_LISTEN_TLS);
    let (low, high) = d::BACKOFF_MS;
    for (path, key, used) in [
        ("gateway", "listen", listen),
        ("gateway", "timeout", ms(d::TIMEOUT_MS)),
        ("gateway.cors", "max_age", ms(d::CORS_MAX_AGE_S * 1_000)),
        ("gateway.routes.KEY.redirect", "status", d::REDIRECT_STATUS.to_string()),
        ("gateway.routes.KEY.mirror", "share", format!("{}%", d::MIRROR_SHARE_BP / 100)),
        ("services.NAME", "replicas", d::REPLICAS.to_string()),
        ("services.NAME.health", "interval", ms(d::HEALTH_INTERVAL_MS)),
        ("services.NAME.health", "timeout", ms(d::HEALTH_TIMEOUT_MS)),
        ("resilience.NAME", "timeout", ms(d::TIMEOUT_MS)),
        ("resilience.NAME", "connect_timeout", ms(d::CONNECT_TIMEOUT_MS)),
        ("resilience.NAME.retry", "attempts", d::RETRIES.to_string()),
        ("resilience.NAME.retry", "backoff", format!("{}..{}", ms(low), ms(high))),
        ("resilience.NAME.retry", "budget", format!("{}%", d::RETRY_BUDGET_PERCENT)),
        ("resilience.NAME.retry", "floor", format!("{}/s", d::RETRY_BUDGET_FLOOR)),
        ("resilience.NAME.breaker", "failures", d::BREAKER_FAILURES.to_string()),
        ("resilience.NAME.breaker", "success", format!("{}%", d::BREAKER_SUCCESS_PERCENT)),
        ("resilience.NAME.limit", "open", d::LIMIT_OPEN.to_string()),
        ("resilience.NAME.limit", "queued", d::LIMIT_QUEUED.to_string()),
        ("trust", "domain", format!("SYSTEM{}", d::TRUST_DOMAIN_SUFFIX)),
        ("observe", "metrics", d::METRICS_LISTEN.to_owned()),
        ("observe.traces", "sample", format!("{}%", d::TRACE_SAMPLE_BP / 100)),
    ] {
        assert_eq!(said(path, key), used, "{path}.{key}");
    }
}
