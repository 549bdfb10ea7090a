//! A tour of what the shop's manifest makes the gateway do by itself; tried once at the start of a load.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prost::Message;

use crate::catalog::Product;
use crate::load::customer::{Customer, body, header, one_header, same};
use crate::pricing::{GET_PRICE, GetPriceRequest, Price};

pub(crate) async fn tour(customer: &mut Customer) {
    customer
        .get("/shop", |answer| {
            same(answer.status, 308)?;
            same(header(answer, "location"), "/products")
        })
        .await;
    customer
        .get("/about", |answer| {
            same(answer.status, 200)?;
            same(answer.first_line().as_str(), "Tea, coffee and what you drink it from.")
        })
        .await;
    customer
        .get("/v1/products/tea-puerh", |answer| same(body::<Product>(answer, 200)?.sku.as_str(), "tea-puerh"))
        .await;
    customer
        .get("/stock/tea-puerh", |answer| {
            same(answer.status, 200)?;
            same(header(answer, "x-served-by"), "shop")
        })
        .await;
    customer.get("/nowhere", |answer| same(answer.status, 404)).await;
    preflight(customer).await;
    grpc_web(customer).await;
}

/// A browser asks whether a page of another origin may order.
async fn preflight(customer: &mut Customer) {
    let headers: HeaderMap = [
        ("origin", "https://shop.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,idempotency-key"),
    ]
    .into_iter()
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .collect();
    let check = |answer: &crate::http::Received| {
        if !(200..300).contains(&answer.status) {
            return Err("a status of 2xx".to_owned());
        }
        same(header(answer, "access-control-allow-origin"), "https://shop.test")?;
        let methods = header(answer, "access-control-allow-methods");
        if methods.contains("POST") { Ok(()) } else { Err(format!("POST among the methods `{methods}`")) }
    };
    customer.ask(Method::OPTIONS, "/orders", headers, Bytes::new(), check).await;
}

/// gRPC as a browser speaks it: over HTTP/1.1, the trailers as a last message of the body.
async fn grpc_web(customer: &mut Customer) {
    let question = GetPriceRequest { sku: "tea-assam".to_owned() }.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(question.len() as u32);
    framed.put_slice(&question);
    let headers = one_header("content-type", "application/grpc-web+proto");
    customer
        .ask(Method::POST, GET_PRICE, headers, framed.freeze(), |answer| {
            same(answer.status, 200)?;
            let (message, trailers) = two_frames(&answer.body).ok_or("a message and a frame of trailers")?;
            let price = Price::decode(message).map_err(|_| "a price")?;
            same(price.amount, 1290)?;
            let trailers = String::from_utf8_lossy(trailers).to_ascii_lowercase();
            let ended = trailers.lines().any(|line| line.replace(' ', "") == "grpc-status:0");
            if ended { Ok(()) } else { Err(format!("grpc-status 0 among the trailers `{trailers}`")) }
        })
        .await;
}

/// The message and the trailers of a body that has exactly these two.
fn two_frames(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (message, rest) = frame(body, 0)?;
    let (trailers, rest) = frame(rest, 0x80)?;
    rest.is_empty().then_some((message, trailers))
}

fn frame(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    (prefix[0] == kind).then(|| rest.split_at_checked(length as usize)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_web_body_is_a_message_and_trailers() {
        let body = b"\0\0\0\0\x02hi\x80\0\0\0\x0fgrpc-status: 0\r";
        assert_eq!(two_frames(body), Some((&b"hi"[..], &b"grpc-status: 0\r"[..])));
        assert_eq!(two_frames(&body[..10]), None);
        assert_eq!(two_frames(b"\0\0\0\0\x02hi"), None);
    }
}
