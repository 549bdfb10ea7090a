//! catalog: what is for sale, without prices, and what customers put into their carts.

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::http::{Answer, Call, Problem, Service, json};
use crate::users::{CUSTOMERS, VISITOR};

/// Stock-keeping unit, name, category.
pub(crate) const PRODUCTS: [(&str, &str, &str); 12] = [
    ("tea-assam", "Assam, second flush", "tea"),
    ("tea-sencha", "Sencha, first harvest", "tea"),
    ("tea-oolong", "Oolong, roasted", "tea"),
    ("tea-puerh", "Pu-erh, ripe", "tea"),
    ("coffee-sidamo", "Sidamo, washed", "coffee"),
    ("coffee-huila", "Huila, honey", "coffee"),
    ("coffee-decaf", "Decaf, sugar cane process", "coffee"),
    ("pot-glass", "Glass pot, 1 l", "ware"),
    ("pot-iron", "Iron pot, 0.8 l", "ware"),
    ("cup-plain", "Cup, white", "ware"),
    ("cup-blue", "Cup, cobalt", "ware"),
    ("kettle-copper", "Copper kettle, last one sold", "ware"),
];
/// What is in every customer's cart: `(product, quantity)`.
const USUAL: [(usize, u32); 3] = [(0, 2), (4, 1), (9, 4)];
/// What else is in the cart of the first customer, of the second, and so on, and of the visitor.
const OWN: [usize; 9] = [1, 2, 3, 5, 6, 7, 8, 10, 1];
/// A cart of the first customer with something that is out of stock.
pub(crate) const WISHFUL_CART: &str = "wishful";

pub(crate) struct Catalog {
    /// Said in `x-catalog-edition` of every answer.
    pub(crate) edition: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Product {
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) category: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Products {
    pub(crate) items: Vec<Product>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Cart {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) items: Vec<CartItem>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct CartItem {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
}

impl Service for Catalog {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        let mut answer = match (call.route().0, &call.route().1[..]) {
            ("GET", ["products"]) => json(
                200,
                &Products { items: list(call.query("ids").as_deref(), call.query("category").as_deref()) },
            ),
            ("GET", ["products", sku]) => json(200, &product(sku)?),
            ("GET", ["carts", id]) => json(200, &cart(id)?),
            _ => return Err(Problem::no_such_operation(&call)),
        };
        answer.headers_mut().insert("x-catalog-edition", HeaderValue::from(self.edition));
        Ok(answer)
    }
}

/// All products, or those asked for in the order asked; unknown ones are left out.
fn list(ids: Option<&str>, category: Option<&str>) -> Vec<Product> {
    let found = match ids {
        Some(ids) => ids.split(',').take(100).filter_map(|sku| product(sku).ok()).collect(),
        None => PRODUCTS.iter().map(described).collect::<Vec<_>>(),
    };
    found.into_iter().filter(|product| category.is_none_or(|wanted| wanted == product.category)).collect()
}

fn product(sku: &str) -> Result<Product, Problem> {
    let found = PRODUCTS.iter().find(|(known, _, _)| *known == sku);
    found.map(described).ok_or_else(|| Problem::new(404, format!("there is no product `{sku}`")))
}

fn described((sku, name, category): &(&str, &str, &str)) -> Product {
    Product { sku: (*sku).to_owned(), name: (*name).to_owned(), category: (*category).to_owned() }
}

/// The cart `cart-NAME` of each customer, one product more for each of them, and the one that cannot be fulfilled.
pub(crate) fn cart(id: &str) -> Result<Cart, Problem> {
    let item = |(product, quantity): (usize, u32)| CartItem { sku: PRODUCTS[product].0.to_owned(), quantity };
    if id == WISHFUL_CART {
        let items = vec![item((0, 1)), item((PRODUCTS.len() - 1, 1))];
        return Ok(Cart { id: id.to_owned(), customer: CUSTOMERS[0].0.to_owned(), items });
    }
    let owner = id.strip_prefix("cart-");
    let place = CUSTOMERS.iter().chain([&VISITOR]).position(|(name, _)| Some(*name) == owner);
    let place = place.ok_or_else(|| Problem::new(404, format!("there is no cart `{id}`")))?;
    let customer = owner.unwrap_or_default().to_owned();
    let own = (OWN[place], 1);
    Ok(Cart { id: id.to_owned(), customer, items: USUAL.into_iter().chain([own]).map(item).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_come_in_the_order_asked_and_unknown_ones_are_left_out() {
        let found = list(Some("tea-sencha,nothing,tea-assam"), None);
        assert_eq!(found.iter().map(|p| p.sku.as_str()).collect::<Vec<_>>(), ["tea-sencha", "tea-assam"]);
        assert!(list(None, Some("ware")).iter().all(|p| p.category == "ware"));
        assert_eq!(list(None, None).len(), PRODUCTS.len());
    }

    #[test]
    fn every_cart_holds_products_that_exist() {
        for (customer, _) in CUSTOMERS {
            let cart = cart(&format!("cart-{customer}")).unwrap();
            assert_eq!(cart.customer, customer);
            assert!(
                cart.items.iter().all(|item| product(&item.sku).is_ok() && item.quantity > 0),
                "{cart:?}"
            );
        }
        assert_eq!(cart("cart-nobody").unwrap_err().status, 404);
    }
}
