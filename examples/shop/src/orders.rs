//! orders: turns a cart into an order. It asks four other services, and one of them twice for every item.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::catalog::{Cart, CartItem};
use crate::grpc::{self, Channel};
use crate::http::{Answer, Call, Client, Problem, Service, json, passed_on};
use crate::inventory::Stock;
use crate::order_book::{Order, OrderBook, OrderLine};
use crate::pricing::{CURRENCY, GET_PRICE, GetPriceRequest, Price};
use crate::users::{Permissions, User};

/// Most bytes of an `idempotency-key`.
const KEY_BYTES_MAX: usize = 128;
/// Most orders in one list.
const LIST_MAX: usize = 100;

pub(crate) struct Orders {
    book: Mutex<OrderBook>,
    users: Client,
    catalog: Client,
    pricing: Channel,
    inventory: Client,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewOrder {
    pub(crate) customer: String,
    pub(crate) cart: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderList {
    pub(crate) items: Vec<Order>,
}

impl Service for Orders {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        match (call.route().0, &call.route().1[..]) {
            ("POST", ["orders"]) => self.place(call).await,
            ("GET", ["orders"]) => self.list(&call),
            ("GET", ["orders", id]) => {
                let order = self.book().get(id)?;
                Ok(json(200, &order.ok_or_else(|| Problem::new(404, format!("there is no order `{id}`")))?))
            }
            _ => Err(Problem::no_such_operation(&call)),
        }
    }
}

impl Orders {
    /// `callees`: the URLs of users, catalog, pricing, inventory.
    pub(crate) fn new(book: OrderBook, [users, catalog, pricing, inventory]: &[String; 4]) -> Result<Self> {
        Ok(Self {
            book: Mutex::new(book),
            users: Client::new(users)?,
            catalog: Client::new(catalog)?,
            pricing: Channel::new(pricing)?,
            inventory: Client::new(inventory)?,
        })
    }

    fn book(&self) -> std::sync::MutexGuard<'_, OrderBook> {
        // Whatever broke while it was locked, the book itself is changed in single steps.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, call: &Call) -> Result<Answer, Problem> {
        let customer =
            call.query("customer").ok_or_else(|| Problem::new(400, "say whose orders: ?customer="))?;
        let limit = call.query("limit").map_or(Ok(20), |limit| limit.parse::<usize>());
        let limit = limit.map_err(|_| Problem::new(400, "limit is no number"))?.min(LIST_MAX);
        Ok(json(200, &OrderList { items: self.book().of_customer(&customer, limit)? }))
    }

    /// The same `idempotency-key` of the same customer gives the same order, however often it is sent.
    async fn place(&self, call: Call) -> Result<Answer, Problem> {
        let key = call.header("idempotency-key").filter(|key| !key.is_empty() && key.len() <= KEY_BYTES_MAX);
        let key = key
            .ok_or_else(|| Problem::new(400, "an order needs an idempotency-key of at most 128 bytes"))?
            .to_owned();
        let headers = passed_on(&call.head.headers);
        let wish: NewOrder = call.json().await?;
        let id = order_id(&wish.customer, &key);
        let known = self.book().get(&id)?;
        let (order, new) = match known {
            Some(order) => (order, false),
            None => {
                let order = self.compose(id, &wish, &headers).await?;
                self.book().insert(order)?
            }
        };
        if order.cart != wish.cart {
            return Err(Problem::new(422, "this idempotency-key was used for another cart"));
        }
        let mut answer = json(if new { 201 } else { 200 }, &order);
        if let Ok(place) = HeaderValue::from_str(&format!("/orders/{}", order.id)) {
            answer.headers_mut().insert(header::LOCATION, place);
        }
        Ok(answer)
    }

    async fn compose(&self, id: String, wish: &NewOrder, headers: &HeaderMap) -> Result<Order, Problem> {
        let NewOrder { customer, cart } = wish;
        if !(is_name(customer) && is_name(cart)) {
            return Err(Problem::new(422, "customer and cart are names: letters, digits and hyphens"));
        }
        let user: Option<User> =
            self.users.get("users", &format!("/users/{customer}"), headers.clone()).await?;
        let user = user.ok_or_else(|| Problem::new(422, format!("there is no customer `{customer}`")))?;
        let path = format!("/users/{}/permissions", user.id);
        let may: Option<Permissions> = self.users.get("users", &path, headers.clone()).await?;
        if !may.is_some_and(|may| may.permissions.iter().any(|name| name == "orders:place")) {
            return Err(Problem::new(403, format!("{} may not place orders", user.name)));
        }
        let cart: Option<Cart> =
            self.catalog.get("catalog", &format!("/carts/{cart}"), headers.clone()).await?;
        let cart = cart.ok_or_else(|| Problem::new(422, format!("there is no cart `{}`", wish.cart)))?;
        if cart.customer != user.id {
            return Err(Problem::new(403, format!("the cart `{}` is not {}'s", cart.id, user.name)));
        }
        // One call each for the price and the stock of every item: the chatter that many real services have.
        let mut lines = Vec::with_capacity(cart.items.len());
        for item in &cart.items {
            let price = self.price(&item.sku, headers).await?;
            let stock: Option<Stock> =
                self.inventory.get("inventory", &format!("/stock/{}", item.sku), headers.clone()).await?;
            lines.push(line(item, &price, stock.as_ref())?);
        }
        let total = lines.iter().map(|line| line.amount).sum();
        let (customer, currency, status) = (user.id, CURRENCY.to_owned(), "placed".to_owned());
        Ok(Order { id, customer, cart: cart.id, lines, total, currency, status })
    }

    async fn price(&self, sku: &str, headers: &HeaderMap) -> Result<Price, Problem> {
        let question = GetPriceRequest { sku: sku.to_owned() };
        self.pricing.unary(GET_PRICE, headers.clone(), &question).await.map_err(|status| match status.code {
            grpc::NOT_FOUND => Problem::new(422, format!("`{sku}` has no price")),
            _ => Problem::new(502, format!("pricing GetPrice: {status}")),
        })
    }
}

/// One line of the order, if there is enough of it.
fn line(item: &CartItem, price: &Price, stock: Option<&Stock>) -> Result<OrderLine, Problem> {
    let available = stock.map_or(0, |stock| stock.available);
    if available < item.quantity {
        return Err(Problem::new(
            409,
            format!("`{}`: {} wanted, {available} in stock", item.sku, item.quantity),
        ));
    }
    let amount = price.amount * i64::from(item.quantity);
    Ok(OrderLine { sku: item.sku.clone(), quantity: item.quantity, amount })
}

/// A customer and a key always make the same id (FNV-1a, 64 bits), so that all copies of this service agree on it.
fn order_id(customer: &str, key: &str) -> String {
    let bytes = customer.bytes().chain([0]).chain(key.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("o-{hash:016x}")
}

/// What may stand in a path as it is.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_customer_and_key_and_on_nothing_else() {
        assert_eq!(order_id("ada", "1"), order_id("ada", "1"));
        assert_ne!(order_id("ada", "1"), order_id("ben", "1"));
        assert_ne!(order_id("a", "b1"), order_id("ab", "1"));
    }

    #[test]
    fn a_line_needs_stock() {
        let item = CartItem { sku: "cup-plain".to_owned(), quantity: 3 };
        let price = Price { sku: "cup-plain".to_owned(), amount: 700, currency: CURRENCY.to_owned() };
        let stock = |available| Stock { sku: "cup-plain".to_owned(), available };
        assert_eq!(line(&item, &price, Some(&stock(3))).unwrap().amount, 2100);
        assert_eq!(line(&item, &price, Some(&stock(2))).unwrap_err().status, 409);
        assert_eq!(line(&item, &price, None).unwrap_err().status, 409);
    }

    #[test]
    fn names_cannot_leave_their_segment_of_the_path() {
        assert!(is_name("cart-ada"));
        assert!(!is_name("../users") && !is_name("a/b") && !is_name("a?b") && !is_name(""));
    }
}
