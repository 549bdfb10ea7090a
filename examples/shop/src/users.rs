//! users: who the customers are, and what they may do.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::{Answer, Call, Problem, Service, json};

/// Everyone who may place orders, in the order in which the load plays them.
pub(crate) const CUSTOMERS: [(&str, &str); 8] = [
    ("ada", "Ada Abel"),
    ("ben", "Ben Bauer"),
    ("cleo", "Cleo Costa"),
    ("dan", "Dan Dunn"),
    ("eva", "Eva Eriksen"),
    ("finn", "Finn Fischer"),
    ("gus", "Gus Grant"),
    ("hana", "Hana Hori"),
];
/// Known, but may only look.
pub(crate) const VISITOR: (&str, &str) = ("zoe", "Zoe Zimmer");

pub(crate) struct Users;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Permissions {
    pub(crate) permissions: Vec<String>,
}

impl Service for Users {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        match (call.route().0, &call.route().1[..]) {
            ("GET", ["users", id]) => Ok(json(200, &user(id)?)),
            ("GET", ["users", id, "permissions"]) => {
                user(id)?;
                Ok(json(200, &json!({ "permissions": permissions(id) })))
            }
            _ => Err(Problem::no_such_operation(&call)),
        }
    }
}

fn user(id: &str) -> Result<User, Problem> {
    let known = CUSTOMERS.iter().chain([&VISITOR]).find(|(known, _)| *known == id);
    let (id, name) = known.ok_or_else(|| Problem::new(404, format!("there is no user `{id}`")))?;
    Ok(User { id: (*id).to_owned(), name: (*name).to_owned() })
}

fn permissions(id: &str) -> &'static [&'static str] {
    if id == VISITOR.0 { &["orders:read"] } else { &["orders:read", "orders:place"] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_known_and_may_not_order() {
        assert_eq!(user("zoe").unwrap().name, "Zoe Zimmer");
        assert!(!permissions("zoe").contains(&"orders:place"));
        assert!(permissions("ada").contains(&"orders:place"));
        assert_eq!(user("nobody").unwrap_err().status, 404);
    }
}
