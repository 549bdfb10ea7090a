//! pricing: what things cost. gRPC in all four shapes, as `api/pricing.proto` says.

use std::time::Duration;

use crate::grpc::{
    self, INVALID_ARGUMENT, Messages, NOT_FOUND, OK, Outgoing, Status, UNAVAILABLE, UNIMPLEMENTED, health,
};
use crate::http::{Answer, Call, Problem, Service, Stop, stopped};

/// Cents per piece.
const PRICES: [(&str, i64); 12] = [
    ("tea-assam", 1290),
    ("tea-sencha", 1850),
    ("tea-oolong", 1640),
    ("tea-puerh", 2400),
    ("coffee-sidamo", 1450),
    ("coffee-huila", 1520),
    ("coffee-decaf", 1310),
    ("pot-glass", 3900),
    ("pot-iron", 8900),
    ("cup-plain", 700),
    ("cup-blue", 950),
    ("kettle-copper", 14900),
];
pub(crate) const CURRENCY: &str = "EUR";
/// Most products in one `BatchGetPrices` or `WatchPrices`.
const BATCH_MAX: usize = 100;
/// Bounds of the interval of `WatchPrices`, in milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 10..=60_000;

pub(crate) const GET_PRICE: &str = "/pricing.v1.Pricing/GetPrice";
pub(crate) const BATCH_GET_PRICES: &str = "/pricing.v1.Pricing/BatchGetPrices";
pub(crate) const WATCH_PRICES: &str = "/pricing.v1.Pricing/WatchPrices";
pub(crate) const QUOTE: &str = "/pricing.v1.Pricing/Quote";

pub(crate) struct Pricing;

impl Service for Pricing {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        let path = call.head.uri.path().to_owned();
        Ok(match path.as_str() {
            GET_PRICE => grpc::unary(get_price(call).await),
            BATCH_GET_PRICES => grpc::unary(batch_get_prices(call).await),
            WATCH_PRICES => watch_prices(call).await,
            QUOTE => quote(call),
            health::CHECK => grpc::unary(check(call).await),
            _ => {
                grpc::unary(Err::<Price, _>(Status::new(UNIMPLEMENTED, format!("there is no method {path}"))))
            }
        })
    }
}

async fn get_price(call: Call) -> Result<Price, Status> {
    let question: GetPriceRequest = grpc::read_one(call).await?;
    price(&question.sku)
}

/// The prices in the order asked; products without one are left out.
async fn batch_get_prices(call: Call) -> Result<BatchGetPricesReply, Status> {
    let question: BatchGetPricesRequest = grpc::read_one(call).await?;
    bounded(&question.skus)?;
    Ok(BatchGetPricesReply { prices: question.skus.iter().filter_map(|sku| price(sku).ok()).collect() })
}

/// The prices now, and again at each interval: `rounds` times, or until the caller has enough.
async fn watch_prices(call: Call) -> Answer {
    let stop = call.stop.clone();
    let question: WatchPricesRequest = match grpc::read_one(call).await {
        Ok(question) => question,
        Err(status) => return grpc::unary(Err::<Price, _>(status)),
    };
    let prices: Result<Vec<Price>, Status> =
        bounded(&question.skus).and_then(|()| question.skus.iter().map(|sku| price(sku)).collect());
    match prices {
        Err(status) => grpc::unary(Err::<Price, _>(status)),
        Ok(prices) => {
            let (replies, answer) = grpc::streaming();
            tokio::spawn(keep_telling(prices, question, replies, stop));
            answer
        }
    }
}

async fn keep_telling(prices: Vec<Price>, question: WatchPricesRequest, replies: Outgoing, mut stop: Stop) {
    let interval_ms = question.interval_ms.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
    let mut interval = tokio::time::interval(Duration::from_millis(interval_ms.into()));
    let mut told = 0;
    while question.rounds == 0 || told < question.rounds {
        tokio::select! {
            _ = interval.tick() => {}
            () = replies.closed() => return,
            () = stopped(&mut stop) => return replies.finish(Status::new(UNAVAILABLE, "pricing ends; watch again")).await,
        }
        for price in &prices {
            if !replies.send(price).await {
                return;
            }
        }
        told += 1;
    }
    replies.finish(Status::new(OK, "")).await;
}

/// Both sides speak by turns: each item said is answered at once by its line, with the sum so far.
fn quote(call: Call) -> Answer {
    let (replies, answer) = grpc::streaming();
    tokio::spawn(async move {
        let mut items = Messages::<QuoteItem>::new(call.body);
        let mut total = 0;
        let status = loop {
            let line = match items.next().await {
                Ok(Some(item)) => quote_line(&item, &mut total),
                Ok(None) => break Status::new(OK, ""),
                Err(status) => break status,
            };
            match line {
                Ok(line) if replies.send(&line).await => {}
                Ok(_) => return,
                Err(status) => break status,
            }
        };
        replies.finish(status).await;
    });
    answer
}

fn quote_line(item: &QuoteItem, total: &mut i64) -> Result<QuoteLine, Status> {
    let too_much = || Status::new(INVALID_ARGUMENT, "the quote is worth more than can be counted");
    let amount = price(&item.sku)?.amount * i64::from(item.quantity);
    *total = total.checked_add(amount).ok_or_else(too_much)?;
    Ok(QuoteLine { sku: item.sku.clone(), quantity: item.quantity, amount, total: *total })
}

async fn check(call: Call) -> Result<health::HealthCheckResponse, Status> {
    let question: health::HealthCheckRequest = grpc::read_one(call).await?;
    match question.service.as_str() {
        "" | "pricing.v1.Pricing" => Ok(health::HealthCheckResponse { status: health::SERVING }),
        other => Err(Status::new(NOT_FOUND, format!("there is no service {other}"))),
    }
}

pub(crate) fn price(sku: &str) -> Result<Price, Status> {
    let found = PRICES.iter().find(|(known, _)| *known == sku);
    let (sku, amount) =
        found.ok_or_else(|| Status::new(NOT_FOUND, format!("there is no price for `{sku}`")))?;
    Ok(Price { sku: (*sku).to_owned(), amount: *amount, currency: CURRENCY.to_owned() })
}

fn bounded(skus: &[String]) -> Result<(), Status> {
    let too_many = || {
        Status::new(INVALID_ARGUMENT, format!("{} products asked for, {BATCH_MAX} are allowed", skus.len()))
    };
    (skus.len() <= BATCH_MAX).then_some(()).ok_or_else(too_many)
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetPriceRequest {
    #[prost(string, tag = "1")]
    pub(crate) sku: String,
}

/// What one piece costs.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Price {
    #[prost(string, tag = "1")]
    pub(crate) sku: String,
    /// Cents.
    #[prost(int64, tag = "2")]
    pub(crate) amount: i64,
    #[prost(string, tag = "3")]
    pub(crate) currency: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BatchGetPricesRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) skus: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BatchGetPricesReply {
    #[prost(message, repeated, tag = "1")]
    pub(crate) prices: Vec<Price>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchPricesRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) skus: Vec<String>,
    /// Milliseconds between two rounds.
    #[prost(uint32, tag = "2")]
    pub(crate) interval_ms: u32,
    /// How often all prices are told; 0 is until the caller has enough.
    #[prost(uint32, tag = "3")]
    pub(crate) rounds: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct QuoteItem {
    #[prost(string, tag = "1")]
    pub(crate) sku: String,
    #[prost(uint32, tag = "2")]
    pub(crate) quantity: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct QuoteLine {
    #[prost(string, tag = "1")]
    pub(crate) sku: String,
    #[prost(uint32, tag = "2")]
    pub(crate) quantity: u32,
    /// Cents for this line.
    #[prost(int64, tag = "3")]
    pub(crate) amount: i64,
    /// Cents for all lines so far.
    #[prost(int64, tag = "4")]
    pub(crate) total: i64,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::catalog::PRODUCTS;

    #[test]
    fn everything_for_sale_has_a_price() {
        for (sku, _, _) in PRODUCTS {
            assert!(price(sku).unwrap().amount > 0, "{sku}");
        }
        assert_eq!(price("nothing").unwrap_err().code, NOT_FOUND);
    }

    #[test]
    fn a_quote_adds_up_and_does_not_overflow() {
        let mut total = 0;
        let item = |quantity| QuoteItem { sku: "tea-assam".to_owned(), quantity };
        assert_eq!(quote_line(&item(2), &mut total).unwrap().amount, 2580);
        assert_eq!(quote_line(&item(1), &mut total).unwrap().total, 3870);
        total = i64::MAX;
        assert_eq!(quote_line(&item(1), &mut total).unwrap_err().code, INVALID_ARGUMENT);
    }

    /// The messages here are written by hand: each must have the field numbers and wire types of the published file.
    #[test]
    fn the_messages_are_those_of_the_proto_file() {
        let file = protox_parse::parse("pricing.proto", include_str!("../api/pricing.proto")).unwrap();
        let price = || Price { sku: "a".into(), amount: 1, currency: "EUR".into() };
        let skus = || vec!["a".to_owned()];
        let ours: [(&str, Vec<u8>); 7] = [
            ("GetPriceRequest", GetPriceRequest { sku: "a".into() }.encode_to_vec()),
            ("Price", price().encode_to_vec()),
            ("BatchGetPricesRequest", BatchGetPricesRequest { skus: skus() }.encode_to_vec()),
            ("BatchGetPricesReply", BatchGetPricesReply { prices: vec![price()] }.encode_to_vec()),
            (
                "WatchPricesRequest",
                WatchPricesRequest { skus: skus(), interval_ms: 1, rounds: 1 }.encode_to_vec(),
            ),
            ("QuoteItem", QuoteItem { sku: "a".into(), quantity: 1 }.encode_to_vec()),
            ("QuoteLine", QuoteLine { sku: "a".into(), quantity: 1, amount: 1, total: 1 }.encode_to_vec()),
        ];
        assert_eq!(file.message_type.len(), ours.len());
        for (name, bytes) in ours {
            let declared = file.message_type.iter().find(|message| message.name() == name).unwrap();
            let declared: Vec<(u32, bool)> =
                declared.field.iter().map(|field| (field.number() as u32, is_number(field))).collect();
            assert_eq!(fields(&bytes), declared, "{name}");
        }
        let service = &file.service[0];
        let methods: Vec<String> = service
            .method
            .iter()
            .map(|m| format!("/{}.{}/{}", file.package(), service.name(), m.name()))
            .collect();
        assert_eq!(methods, [GET_PRICE, BATCH_GET_PRICES, WATCH_PRICES, QUOTE]);
    }

    fn is_number(field: &prost_types::FieldDescriptorProto) -> bool {
        use prost_types::field_descriptor_proto::Type;
        matches!(field.r#type, Some(kind) if kind == Type::Int64 as i32 || kind == Type::Uint32 as i32)
    }

    /// Field numbers, and whether each is a varint, as they stand on the wire.
    fn fields(mut bytes: &[u8]) -> Vec<(u32, bool)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let (number, kind) = prost::encoding::decode_key(&mut bytes).unwrap();
            found.push((number, kind == prost::encoding::WireType::Varint));
            let context = prost::encoding::DecodeContext::default();
            prost::encoding::skip_field(kind, number, &mut bytes, context).unwrap();
        }
        found
    }
}
