//! Request heads: three tables, by what varies. Bytes that no table is about are the same in every row.

use super::*;

/// Rows of whole requests: how lines end, what the first line is, which form the target has.
const WHOLE: &[Row] = &[
    // RFC 9112, 2.2: lines.
    ("9112-2.2/minimal", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / @h"),
    ("9112-2.2/one-empty-line-before", b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / @h"),
    ("9112-2.2/two-empty-lines-before", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / @h"),
    (
        "9112-2.2/three-empty-lines-before",
        b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "400 leading_lines",
    ),
    ("9112-2.2/bare-lf-before", b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 bare_lf"),
    ("9112-2.2/bare-cr-before", b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 bare_cr"),
    ("9112-2.2/bare-lf-request-line", b"GET / HTTP/1.1\nHost: h\r\n\r\n", "400 bare_lf"),
    ("9112-2.2/bare-lf-field-line", b"GET / HTTP/1.1\r\nHost: h\n\r\n", "400 bare_lf"),
    ("9112-2.2/bare-lf-last-line", b"GET / HTTP/1.1\r\nHost: h\r\n\n", "400 bare_lf"),
    ("9112-2.2/bare-lf-everywhere", b"GET / HTTP/1.1\nHost: h\n\n", "400 bare_lf"),
    ("9112-2.2/lf-cr-lf-end", b"GET / HTTP/1.1\r\nHost: h\r\n\n\r\n", "400 bare_lf"),
    ("9112-2.2/bare-cr-in-request-line", b"GET /\rHTTP/1.1\r\nHost: h\r\n\r\n", "400 version_missing"),
    ("9112-2.2/bare-cr-in-target", b"GET /a\rb HTTP/1.1\r\nHost: h\r\n\r\n", "400 bare_cr"),
    ("9112-2.2/bare-cr-before-version", b"GET / \rHTTP/1.1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-2.2/bare-cr-after-version", b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-2.2/bare-cr-in-value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", "400 bare_cr"),
    ("9112-2.2/bare-cr-ends-value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\r\n\r\n", "400 bare_cr"),
    ("9112-2.2/bare-cr-in-name", b"GET / HTTP/1.1\r\nHost: h\r\nX\ry: a\r\n\r\n", "400 bare_cr"),
    ("9112-2.2/bare-cr-as-last-line", b"GET / HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n", "400 bare_cr"),
    ("9112-2.2/space-before-first-field", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", "400 folded_line"),
    ("9112-2.2/tab-before-first-field", b"GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", "400 folded_line"),
    ("9112-2.2/incomplete-line", b"GET / HTTP/1.1", "more"),
    ("9112-2.2/incomplete-head", b"GET / HTTP/1.1\r\nHost: h\r\n", "more"),
    ("9112-2.2/incomplete-end", b"GET / HTTP/1.1\r\nHost: h\r\n\r", "more"),
    ("9112-2.2/nothing", b"", "more"),
    ("9112-2.2/empty-lines-alone", b"\r\n\r\n", "more"),
    ("9112-2.2/bytes-after-are-not-read", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n\n\0\rgarbage", "GET / @h"),
    // RFC 9112, 3: the request line.
    ("9112-3/two-spaces-after-method", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-3/two-spaces-before-version", b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-3/space-at-end", b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-3/space-at-start", b" GET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 method_invalid"),
    ("9112-3/tab-for-space", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", "400 method_invalid"),
    ("9112-3/tab-before-version", b"GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", "400 version_missing"),
    ("9112-3/space-in-target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    (
        "9112-3/smuggled-version-in-target",
        b"GET /a HTTP/1.1 x HTTP/1.1\r\nHost: h\r\n\r\n",
        "400 request_line_invalid",
    ),
    ("9112-3/method-alone", b"GET\r\n\r\n", "400 request_line_invalid"),
    ("9112-3/noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "400 method_invalid"),
    ("9112-3/nul-first", b"\0GET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 method_invalid"),
    // RFC 9112, 3.1: methods.
    ("9112-3.1/lower-case-is-another-method", b"get / HTTP/1.1\r\nHost: h\r\n\r\n", "get / @h"),
    ("9112-3.1/extension-method", b"BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n", "BREW /pot @h"),
    ("9112-3.1/token-with-symbols", b"M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n", "M-SEARCH / @h"),
    ("9112-3.1/nul-in-method", b"G\0T / HTTP/1.1\r\nHost: h\r\n\r\n", "400 method_invalid"),
    ("9112-3.1/quote-in-method", b"G\"T / HTTP/1.1\r\nHost: h\r\n\r\n", "400 method_invalid"),
    ("9112-3.1/colon-in-method", b"GET: / HTTP/1.1\r\nHost: h\r\n\r\n", "400 method_invalid"),
    ("9112-3.1/beyond-ascii-in-method", b"G\xc3\x89T / HTTP/1.1\r\nHost: h\r\n\r\n", "400 method_invalid"),
    // RFC 9112, 2.3: versions.
    ("9112-2.3/http10-without-host", b"GET / HTTP/1.0\r\n\r\n", "GET / @ 1.0"),
    ("9112-2.3/http10-with-host", b"GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET / @h 1.0"),
    ("9112-2.3/http09", b"GET /\r\n", "400 version_missing"),
    ("9112-2.3/http09-named", b"GET / HTTP/0.9\r\n\r\n", "505 version_unsupported"),
    ("9112-2.3/http12", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", "505 version_unsupported"),
    ("9112-2.3/http20", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505 version_unsupported"),
    ("9112-2.3/http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 version_unsupported"),
    ("9112-2.3/http11-lower-case", b"GET / http/1.1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-2.3/two-digit-minor", b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-2.3/no-minor", b"GET / HTTP/1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-2.3/comma", b"GET / HTTP/1,1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-2.3/other-protocol", b"GET / ICY/1.1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    ("9112-2.3/plus-sign", b"GET / HTTP/+1.1\r\nHost: h\r\n\r\n", "400 request_line_invalid"),
    // RFC 9112, 3.2: the four forms of a target.
    ("9112-3.2.1/origin-with-query", b"GET /a?b=c&d HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b=c&d @h"),
    ("9112-3.2.1/empty-query", b"GET /a? HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a? @h"),
    ("9112-3.2.1/question-mark-in-query", b"GET /a?b?c HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b?c @h"),
    ("9112-3.2.1/fragment", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "400 path_invalid"),
    ("9112-3.2.1/fragment-in-query", b"GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n", "400 path_invalid"),
    ("9112-3.2.1/nul-in-target", b"GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_invalid"),
    ("9112-3.2.1/delete-in-target", b"GET /a\x7fb HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_invalid"),
    ("9112-3.2.1/raw-utf8-in-path", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", "400 path_invalid"),
    ("9112-3.2.1/raw-latin1-in-path", b"GET /caf\xe9 HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_invalid"),
    ("9112-3.2.1/raw-utf8-in-query", b"GET /?caf\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", "400 path_invalid"),
    ("9112-3.2.1/no-slash", b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_form"),
    ("9112-3.2.1/query-alone", b"GET ?a HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_invalid"),
    ("9112-3.2.1/canonical", b"GET /a/./b/../%63//d HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/c/d @h"),
    ("9112-3.2.1/two-slashes-first", b"GET //evil/x HTTP/1.1\r\nHost: h\r\n\r\n", "GET /evil/x @h"),
    ("9112-3.2.2/absolute", b"GET http://h/a?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b @h absolute"),
    ("9112-3.2.2/absolute-https", b"GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET / @h absolute"),
    (
        "9112-3.2.2/absolute-upper-case",
        b"GET HTTP://H:80/ HTTP/1.1\r\nHost: h:80\r\n\r\n",
        "GET / @h:80 absolute",
    ),
    ("9112-3.2.2/absolute-empty-path", b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET / @h absolute"),
    ("9112-3.2.2/absolute-query-alone", b"GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?b @h absolute"),
    ("9112-3.2.2/absolute-other-host", b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "400 host_mismatch"),
    (
        "9112-3.2.2/absolute-other-port",
        b"GET http://a:81/ HTTP/1.1\r\nHost: a:82\r\n\r\n",
        "400 host_mismatch",
    ),
    ("9112-3.2.2/absolute-port-in-one", b"GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 host_mismatch"),
    ("9112-3.2.2/absolute-without-host", b"GET http://a/ HTTP/1.1\r\n\r\n", "400 host_missing"),
    ("9112-3.2.2/absolute-http10", b"GET http://a/ HTTP/1.0\r\n\r\n", "GET / @a absolute 1.0"),
    ("9112-3.2.2/absolute-other-scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 target_invalid"),
    ("9112-3.2.2/absolute-no-host", b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", "400 host_invalid"),
    ("9112-3.2.2/absolute-user", b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "400 host_invalid"),
    (
        "9112-3.2.2/absolute-user-as-host",
        b"GET http://h@evil/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "400 host_invalid",
    ),
    (
        "9112-3.2.2/absolute-backslash",
        b"GET http://h\\@evil/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "400 host_invalid",
    ),
    ("9112-3.2.2/absolute-fragment", b"GET http://h#x HTTP/1.1\r\nHost: h\r\n\r\n", "400 path_invalid"),
    ("9112-3.2.2/absolute-one-slash", b"GET http:/h/ HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_invalid"),
    (
        "9112-3.2.2/absolute-canonical",
        b"GET http://h/a/../b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /b @h absolute",
    ),
    ("9112-3.2.3/connect", b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", "CONNECT  @h:443 authority"),
    (
        "9112-3.2.3/connect-ipv6",
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
        "CONNECT  @[::1]:443 authority",
    ),
    ("9112-3.2.3/connect-no-port", b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", "400 host_invalid"),
    ("9112-3.2.3/connect-empty-port", b"CONNECT h: HTTP/1.1\r\nHost: h:\r\n\r\n", "400 host_invalid"),
    ("9112-3.2.3/connect-port-zero", b"CONNECT h:0 HTTP/1.1\r\nHost: h:0\r\n\r\n", "400 host_invalid"),
    (
        "9112-3.2.3/connect-port-too-high",
        b"CONNECT h:65536 HTTP/1.1\r\nHost: h:65536\r\n\r\n",
        "400 host_invalid",
    ),
    ("9112-3.2.3/connect-origin", b"CONNECT /a HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_form"),
    (
        "9112-3.2.3/connect-absolute",
        b"CONNECT http://h:443/ HTTP/1.1\r\nHost: h:443\r\n\r\n",
        "400 target_form",
    ),
    ("9112-3.2.3/connect-asterisk", b"CONNECT * HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_form"),
    ("9112-3.2.3/connect-other-host", b"CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "400 host_mismatch"),
    ("9112-3.2.3/authority-without-connect", b"GET h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "400 target_form"),
    ("9112-3.2.4/asterisk", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * @h asterisk"),
    ("9112-3.2.4/asterisk-without-options", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_form"),
    ("9112-3.2.4/asterisk-with-more", b"OPTIONS */a HTTP/1.1\r\nHost: h\r\n\r\n", "400 target_invalid"),
    (
        "9112-3.2.4/asterisk-by-absolute",
        b"OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS * @h asterisk",
    ),
    // RFC 9112, 3.2 and RFC 9110, 7.2: host.
    ("9112-3.2/host-missing", b"GET / HTTP/1.1\r\n\r\n", "400 host_missing"),
    ("9112-3.2/host-repeated", b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "400 host_repeated"),
    (
        "9112-3.2/host-repeated-differing",
        b"GET / HTTP/1.1\r\nHost: a\r\nhOsT: b\r\n\r\n",
        "400 host_repeated",
    ),
    ("9112-3.2/host-empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-upper-case", b"GET / HTTP/1.1\r\nHOST: EXAMPLE.com\r\n\r\n", "GET / @example.com"),
    ("9112-3.2/host-port", b"GET / HTTP/1.1\r\nHost: h:8080\r\n\r\n", "GET / @h:8080"),
    ("9112-3.2/host-ipv4", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", "GET / @127.0.0.1:80"),
    ("9112-3.2/host-ipv6", b"GET / HTTP/1.1\r\nHost: [2001:DB8::1]\r\n\r\n", "GET / @[2001:db8::1]"),
    ("9112-3.2/host-ipv6-invalid", b"GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-ipv6-open", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-ipv6-then-text", b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-ipv6-bare", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-user", b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-path", b"GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-percent", b"GET / HTTP/1.1\r\nHost: %68\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-empty-label", b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-dot-first", b"GET / HTTP/1.1\r\nHost: .a\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-port-no-number", b"GET / HTTP/1.1\r\nHost: h:8o\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-port-sign", b"GET / HTTP/1.1\r\nHost: h:+80\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-port-empty", b"GET / HTTP/1.1\r\nHost: h:\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-two-ports", b"GET / HTTP/1.1\r\nHost: h:80:81\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-beyond-ascii", b"GET / HTTP/1.1\r\nHost: caf\xc3\xa9\r\n\r\n", "400 host_invalid"),
    ("9112-3.2/host-underscore", b"GET / HTTP/1.1\r\nHost: my_service\r\n\r\n", "GET / @my_service"),
];

/// Rows of field lines, which follow `POST / HTTP/1.1` and `Host: h`.
const FIELDS: &[Row] = &[
    // RFC 9112, 5: field lines.
    ("9112-5/none", b"", "none keep"),
    ("9112-5/empty-value", b"X:\r\n", "none keep x="),
    ("9112-5/no-space", b"X:a\r\n", "none keep x=a"),
    ("9112-5/spaces-around-value", b"X: \t a b \t \r\n", "none keep x=a b"),
    ("9112-5/name-made-lower-case", b"X-LoNg: a\r\n", "none keep x-long=a"),
    ("9112-5/repeated-field-keeps-both", b"X: a\r\nX: b\r\n", "none keep x=a x=b"),
    ("9112-5/no-colon", b"X\r\n", "400 field_name_invalid"),
    ("9112-5/colon-alone", b": a\r\n", "400 field_name_invalid"),
    ("9112-5.1/space-before-colon", b"X : a\r\n", "400 space_before_colon"),
    ("9112-5.1/tab-before-colon", b"X\t: a\r\n", "400 space_before_colon"),
    ("9112-5.1/space-before-colon-of-length", b"Content-Length : 5\r\n", "400 space_before_colon"),
    ("9112-5.1/space-before-colon-of-coding", b"Transfer-Encoding : chunked\r\n", "400 space_before_colon"),
    ("9112-5.1/space-in-name", b"X y: a\r\n", "400 field_name_invalid"),
    ("9112-5.1/quote-in-name", b"X\"y: a\r\n", "400 field_name_invalid"),
    ("9112-5.1/nul-in-name", b"X\0: a\r\n", "400 field_name_invalid"),
    ("9112-5.1/beyond-ascii-in-name", b"X\xc3\xa9: a\r\n", "400 field_name_invalid"),
    ("9112-5.1/all-symbols-of-a-token", b"!#$%&'*+-.^`|~: a\r\n", "none keep !#$%&'*+-.^`|~=a"),
    ("9112-5.1/underscore", b"X_y: a\r\n", "400 field_name_underscore"),
    ("9112-5.1/underscore-length", b"Content_Length: 5\r\n", "400 field_name_underscore"),
    ("9112-5.2/folded", b"X: a\r\n b\r\n", "400 folded_line"),
    ("9112-5.2/folded-tab", b"X: a\r\n\tb\r\n", "400 folded_line"),
    ("9112-5.2/folded-empty", b"X: a\r\n \r\n", "400 folded_line"),
    ("9112-5.2/folded-coding", b"Transfer-Encoding:\r\n chunked\r\n", "400 folded_line"),
    ("9112-5.2/folded-length", b"Content-Length: 1\r\n 0\r\n", "400 folded_line"),
    ("9110-5.5/nul-in-value", b"X: a\0b\r\n", "400 field_value_invalid"),
    ("9110-5.5/escape-in-value", b"X: a\x1bb\r\n", "400 field_value_invalid"),
    ("9110-5.5/delete-in-value", b"X: a\x7fb\r\n", "400 field_value_invalid"),
    ("9110-5.5/vertical-tab-first", b"X: \x0ba\r\n", "400 field_value_invalid"),
    ("9110-5.5/form-feed-around-coding", b"Transfer-Encoding: \x0cchunked\r\n", "400 field_value_invalid"),
    ("9110-5.5/tab-in-value", b"X: a\tb\r\n", "none keep x=a\tb"),
    ("9110-5.5/latin1-in-value", b"X: caf\xe9\r\n", "none keep x=caf\u{fffd}"),
    // RFC 9110, 8.6: content-length.
    ("9110-8.6/length", b"Content-Length: 5\r\n", "5 keep"),
    ("9110-8.6/zero", b"Content-Length: 0\r\n", "0 keep"),
    ("9110-8.6/leading-zeros", b"Content-Length: 007\r\n", "7 keep"),
    ("9110-8.6/largest", b"Content-Length: 9999999999999999999\r\n", "9999999999999999999 keep"),
    ("9110-8.6/20-digits", b"Content-Length: 10000000000000000000\r\n", "400 length_invalid"),
    ("9110-8.6/overflow", b"Content-Length: 18446744073709551616\r\n", "400 length_invalid"),
    ("9110-8.6/empty", b"Content-Length:\r\n", "400 length_invalid"),
    ("9110-8.6/plus", b"Content-Length: +5\r\n", "400 length_invalid"),
    ("9110-8.6/minus", b"Content-Length: -5\r\n", "400 length_invalid"),
    ("9110-8.6/hexadecimal", b"Content-Length: 0x5\r\n", "400 length_invalid"),
    ("9110-8.6/decimal-point", b"Content-Length: 5.0\r\n", "400 length_invalid"),
    ("9110-8.6/exponent", b"Content-Length: 1e3\r\n", "400 length_invalid"),
    ("9110-8.6/underscore", b"Content-Length: 1_000\r\n", "400 length_invalid"),
    ("9110-8.6/inner-space", b"Content-Length: 1 0\r\n", "400 length_invalid"),
    ("9110-8.6/quoted", b"Content-Length: \"5\"\r\n", "400 length_invalid"),
    ("9110-8.6/arabic-digits", b"Content-Length: \xd9\xa5\r\n", "400 length_invalid"),
    ("9110-8.6/parameter", b"Content-Length: 5;x\r\n", "400 length_invalid"),
    ("9110-8.6/list-equal", b"Content-Length: 5, 5\r\n", "400 length_invalid"),
    ("9110-8.6/list-differing", b"Content-Length: 5,6\r\n", "400 length_invalid"),
    ("9110-8.6/list-empty-element", b"Content-Length: ,5\r\n", "400 length_invalid"),
    ("9112-6.3/repeated-equal", b"Content-Length: 5\r\nContent-Length: 5\r\n", "400 length_repeated"),
    ("9112-6.3/repeated-differing", b"Content-Length: 5\r\nContent-Length: 6\r\n", "400 length_repeated"),
    ("9112-6.3/repeated-other-case", b"Content-Length: 5\r\ncontent-length: 5\r\n", "400 length_repeated"),
    ("9112-6.3/repeated-second-invalid", b"Content-Length: 5\r\nContent-Length: x\r\n", "400 length_invalid"),
    // RFC 9112, 6.1: transfer-encoding.
    ("9112-6.1/chunked", b"Transfer-Encoding: chunked\r\n", "chunked keep"),
    ("9112-6.1/chunked-other-case", b"TRANSFER-ENCODING: ChUnKeD\r\n", "chunked keep"),
    ("9112-6.1/chunked-spaces", b"Transfer-Encoding: \t chunked \t\r\n", "chunked keep"),
    ("9112-6.1/cl-and-te", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "400 length_and_coding"),
    ("9112-6.1/te-and-cl", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "400 length_and_coding"),
    (
        "9112-6.1/cl-zero-and-te",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "400 length_and_coding",
    ),
    ("9112-6.1/cl-and-te-unknown", b"Content-Length: 5\r\nTransfer-Encoding: x\r\n", "400 length_and_coding"),
    (
        "9112-6.1/cl-and-te-identity",
        b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "400 length_and_coding",
    ),
    ("9112-6.1/empty", b"Transfer-Encoding:\r\n", "400 coding_unsupported"),
    ("9112-6.1/identity", b"Transfer-Encoding: identity\r\n", "400 coding_unsupported"),
    ("9112-6.1/gzip", b"Transfer-Encoding: gzip\r\n", "400 coding_unsupported"),
    ("9112-6.1/gzip-then-chunked", b"Transfer-Encoding: gzip, chunked\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-then-gzip", b"Transfer-Encoding: chunked, gzip\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-then-identity", b"Transfer-Encoding: chunked, identity\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-twice", b"Transfer-Encoding: chunked, chunked\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-comma", b"Transfer-Encoding: chunked,\r\n", "400 coding_unsupported"),
    ("9112-6.1/comma-chunked", b"Transfer-Encoding: ,chunked\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-parameter", b"Transfer-Encoding: chunked;q=1\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-quoted", b"Transfer-Encoding: \"chunked\"\r\n", "400 coding_unsupported"),
    ("9112-6.1/xchunked", b"Transfer-Encoding: xchunked\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunkedx", b"Transfer-Encoding: chunkedx\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-inner-space", b"Transfer-Encoding: chu nked\r\n", "400 coding_unsupported"),
    ("9112-6.1/chunked-homoglyph", b"Transfer-Encoding: \xe2\x84\xaahunked\r\n", "400 coding_unsupported"),
    (
        "9112-6.1/two-fields",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "400 coding_repeated",
    ),
    (
        "9112-6.1/two-fields-other",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "400 coding_repeated",
    ),
    (
        "9112-6.1/look-alike-is-only-a-field",
        b"X-Transfer-Encoding: chunked\r\n",
        "none keep x-transfer-encoding=chunked",
    ),
    // RFC 9110, 7.6.1: connection.
    ("9110-7.6.1/close", b"Connection: close\r\n", "none close"),
    ("9110-7.6.1/close-other-case", b"connection: CLOSE\r\n", "none close"),
    ("9110-7.6.1/close-in-list", b"Connection: foo, close\r\n", "none close"),
    ("9110-7.6.1/close-wins", b"Connection: keep-alive, close\r\n", "none close"),
    ("9110-7.6.1/close-in-second", b"Connection: keep-alive\r\nConnection: close\r\n", "none close"),
    ("9110-7.6.1/keep-alive", b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", "none keep"),
    ("9110-7.6.1/named-field-goes", b"Connection: x\r\nX: a\r\nY: b\r\n", "none keep y=b"),
    ("9110-7.6.1/named-field-before", b"X: a\r\nConnection: close, X\r\n", "none close"),
    ("9110-7.6.1/named-known-field-goes", b"Connection: cookie\r\nCookie: a=b\r\n", "none keep"),
    (
        "9110-7.6.1/names-length",
        b"Connection: content-length\r\nContent-Length: 5\r\n",
        "400 connection_invalid",
    ),
    ("9110-7.6.1/names-coding", b"Connection: Transfer-Encoding\r\n", "400 connection_invalid"),
    ("9110-7.6.1/names-host", b"Connection: host\r\n", "400 connection_invalid"),
    ("9110-7.6.1/not-a-token", b"Connection: a b\r\n", "400 connection_invalid"),
    ("9110-7.6.1/empty-elements", b"Connection: , ,close,\r\n", "none close"),
    (
        "9110-7.6.1/hop-by-hop-goes",
        b"Proxy-Connection: close\r\nKeep-Alive: x\r\nProxy-Authorization: s\r\n",
        "none keep",
    ),
    ("9110-10.1.4/te-trailers", b"TE: trailers\r\nConnection: te\r\n", "none keep te=trailers"),
    ("9110-10.1.4/te-others-go", b"TE: gzip;q=1\r\n", "none keep"),
    ("9110-10.1.4/te-trailers-among-others", b"TE: gzip, trailers\r\n", "none keep te=trailers"),
    // RFC 9110, 10.1.1: expect.
    ("9110-10.1.1/continue", b"Expect: 100-continue\r\nContent-Length: 5\r\n", "5 keep expect"),
    ("9110-10.1.1/continue-other-case", b"Expect: 100-CONTINUE\r\nContent-Length: 5\r\n", "5 keep expect"),
    (
        "9110-10.1.1/continue-chunked",
        b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n",
        "chunked keep expect",
    ),
    ("9110-10.1.1/continue-no-body", b"Expect: 100-continue\r\n", "none keep"),
    ("9110-10.1.1/continue-empty-body", b"Expect: 100-continue\r\nContent-Length: 0\r\n", "0 keep"),
    ("9110-10.1.1/other", b"Expect: 200-ok\r\nContent-Length: 5\r\n", "417 expect_unsupported"),
    ("9110-10.1.1/obfuscated", b"Expect: y 100-continue\r\nContent-Length: 5\r\n", "417 expect_unsupported"),
    ("9110-10.1.1/repeated", b"Expect: 100-continue\r\nExpect: 100-continue\r\n", "417 expect_unsupported"),
    // RFC 9110, 7.8: upgrade.
    (
        "9110-7.8/websocket",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "none keep websocket upgrade=websocket",
    ),
    (
        "9110-7.8/websocket-other-case",
        b"Connection: upgrade\r\nUpgrade: WebSocket\r\n",
        "none keep websocket upgrade=WebSocket",
    ),
    ("9110-7.8/other", b"Connection: upgrade\r\nUpgrade: foo/2\r\n", "none keep other upgrade=foo/2"),
    ("9110-7.8/without-connection", b"Upgrade: websocket\r\n", "none keep"),
    ("9110-7.8/connection-alone", b"Connection: upgrade\r\n", "none keep"),
    ("9110-7.8/several", b"Connection: upgrade\r\nUpgrade: websocket, foo\r\n", "none keep"),
    ("9110-7.8/repeated", b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: foo\r\n", "none keep"),
    (
        "9110-7.8/h2c",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "none keep",
    ),
    ("9110-7.8/h2", b"Connection: upgrade\r\nUpgrade: H2\r\n", "none keep"),
    ("9110-7.8/with-body", b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "5 keep"),
    (
        "9110-7.8/with-empty-body",
        b"Connection: upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n",
        "0 keep other upgrade=tcp",
    ),
    (
        "9110-7.8/with-chunks",
        b"Connection: upgrade\r\nUpgrade: foo\r\nTransfer-Encoding: chunked\r\n",
        "chunked keep",
    ),
];

/// Rows of request lines and fields in HTTP/1.0, whose rules about the connection's end differ.
const HTTP10: &[Row] = &[
    ("9112-9.3/http10-closes", b"POST / HTTP/1.0\r\n\r\n", "none close"),
    ("9112-9.3/http10-keep-alive", b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "none keep"),
    (
        "9112-9.3/http10-keep-alive-and-close",
        b"POST / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
        "none close",
    ),
    ("9112-9.3/http10-length", b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", "5 close"),
    (
        "9112-9.3/http10-proxy-keep-alive",
        b"POST / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n",
        "none close",
    ),
    (
        "9112-6.1/http10-chunked",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400 coding_on_http10",
    ),
    (
        "9112-6.1/http10-chunked-keep-alive",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400 coding_on_http10",
    ),
    (
        "9112-6.1/http10-identity",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n",
        "400 coding_on_http10",
    ),
    (
        "9112-6.1/http10-cl-and-te",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "400 length_and_coding",
    ),
    (
        "9110-10.1.1/http10-expect-ignored",
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        "5 close",
    ),
    (
        "9110-7.8/http10-upgrade-ignored",
        b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "none close",
    ),
    (
        "9110-9.3.6/connect-length",
        b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 5\r\n\r\n",
        "400 connect_with_body",
    ),
    (
        "9110-9.3.6/connect-length-zero",
        b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\n\r\n",
        "400 connect_with_body",
    ),
    (
        "9110-9.3.6/connect-chunked",
        b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400 connect_with_body",
    ),
    (
        "9110-9.3.6/connect-upgrade-ignored",
        b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
        "none keep",
    ),
];

pub(super) fn rows() -> usize {
    WHOLE.len() + FIELDS.len() + HTTP10.len()
}

#[test]
fn lines_and_targets() {
    check_rows(WHOLE, |name, bytes| match request(name, bytes, &HeadLimits::EDGE) {
        Err(refusal) => refusal_words(refusal),
        Ok(None) => "more".to_owned(),
        Ok(Some((parsed, seen))) => {
            assert!(bytes[..parsed.head_bytes].ends_with(b"\r\n\r\n"), "{name}");
            target_words(&seen)
        }
    });
}

#[test]
fn fields() {
    check_rows(FIELDS, |name, fields| {
        let bytes = [b"POST / HTTP/1.1\r\nHost: h\r\n", fields, b"\r\n"].concat();
        outcome_words(request(name, &bytes, &HeadLimits::EDGE))
    });
}

#[test]
fn http10_and_connect() {
    check_rows(HTTP10, |name, bytes| outcome_words(request(name, bytes, &HeadLimits::EDGE)));
}

fn target_words(seen: &Seen) -> String {
    let mut words = format!("{} {}", seen.method, seen.path);
    if let Some(query) = &seen.query {
        words += &format!("?{query}");
    }
    words += &format!(" @{}", seen.authority);
    match seen.form {
        TargetForm::Origin => {}
        TargetForm::Absolute => words += " absolute",
        TargetForm::Authority => words += " authority",
        TargetForm::Asterisk => words += " asterisk",
    }
    if seen.version == Version::Http10 {
        words += " 1.0";
    }
    words
}

fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Err(refusal) => refusal_words(refusal),
        Ok(None) => "more".to_owned(),
        Ok(Some((parsed, seen))) => {
            let mut words = framing_words(parsed.framing);
            words += if parsed.keep_alive { " keep" } else { " close" };
            words += if parsed.expect_continue { " expect" } else { "" };
            words += match parsed.upgrade {
                Upgrade::None => "",
                Upgrade::WebSocket => " websocket",
                Upgrade::Other => " other",
            };
            for (name, value) in seen.fields {
                words += &format!(" {name}={}", String::from_utf8_lossy(&value));
            }
            words
        }
    }
}

/// The limits: what is exactly at one passes, one byte or field more is refused with the limit's own name.
#[test]
fn limits_are_exact() {
    let limits =
        HeadLimits { line_bytes_max: 40, head_bytes_max: 100, fields_max: 4, underscores_allowed: false };
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(bytes - 14));
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
        format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
    };
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let cases: &[(&str, String, &str)] = &[
        ("line at its limit", line(40), "none keep"),
        ("line beyond its limit", line(41), "414 request_line_too_long"),
        ("line without end", "GET /".to_owned() + &"a".repeat(37), "414 request_line_too_long"),
        ("line that may still end", "GET /".to_owned() + &"a".repeat(36), "more"),
        ("head beyond its limit", head(101), "431 head_too_large"),
        ("head without end", head(101)[..100].to_owned(), "431 head_too_large"),
        ("head that may still end", head(101)[..99].to_owned(), "more"),
        ("fields beyond their limit", fields(5), "431 too_many_fields"),
    ];
    for (name, text, expected) in cases {
        assert_eq!(outcome_words(request(name, text.as_bytes(), &limits)), *expected, "{name}");
    }
    assert!(matches!(request("head at its limit", head(100).as_bytes(), &limits), Ok(Some(_))));
    assert!(matches!(request("fields at their limit", fields(4).as_bytes(), &limits), Ok(Some(_))));
}

/// The edge's own limits, with the numbers that the documents promise.
#[test]
fn the_edge_refuses_what_it_promises_to() {
    let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(8 * 1024));
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(32 * 1024));
    let fields = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(100));
    let parse = |text: &str, limits| {
        parse_request(text.as_bytes(), &mut HeadScan::default(), limits, &mut Head::new()).map(|_| ())
    };
    assert_eq!(parse(&line, &HeadLimits::EDGE), Err(HeadRefusal::RequestLineTooLong));
    assert_eq!(parse(&head, &HeadLimits::EDGE), Err(HeadRefusal::HeadTooLarge));
    assert_eq!(parse(&head, &HeadLimits::MESH), Ok(()));
    assert_eq!(parse(&fields, &HeadLimits::EDGE), Err(HeadRefusal::TooManyFields));
}

/// A request that the edge took with nothing to spare, and to which we add what a hop adds, is taken by the next.
#[test]
fn what_one_of_us_forwards_the_next_takes() {
    let path = "[".repeat(8 * 1024 - 14);
    let text = format!("GET /{path} HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(99));
    let mut head = Head::new();
    let parsed = parse_request(text.as_bytes(), &mut HeadScan::default(), &HeadLimits::EDGE, &mut head);
    assert!(matches!(parsed, Ok(Some(_))), "{parsed:?}");
    for at in 0..20 {
        head.push(format!("weft-{at}").as_bytes(), b"added").unwrap();
    }
    let mut out = Vec::new();
    write_request(&head, &RequestWire { framing: BodyFraming::None, upgrade: false, close: false }, &mut out);
    for (limits, expected) in [(&HeadLimits::HOP, true), (&HeadLimits::EDGE, false)] {
        let parsed = parse_request(&out, &mut HeadScan::default(), limits, &mut head);
        assert_eq!(parsed.is_ok(), expected, "{parsed:?}");
    }
}

#[test]
fn the_mesh_takes_underscores() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nx_y: a\r\n\r\n";
    assert_eq!(outcome_words(request("underscore", bytes, &HeadLimits::MESH)), "none keep x_y=a");
}

#[test]
fn too_many_connection_options_are_refused() {
    let with = |count: usize| {
        let options = vec!["a"; count].join(",");
        outcome_words(request(
            "options",
            format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {options}\r\n\r\n").as_bytes(),
            &HeadLimits::EDGE,
        ))
    };
    assert_eq!(with(32), "none keep");
    assert_eq!(with(33), "400 connection_invalid");
}
