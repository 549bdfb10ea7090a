//! shipping: where the parcels of past orders are.

use serde::{Deserialize, Serialize};

use crate::http::{Answer, Call, Problem, Service, json};

/// Order, tracking number, where it is.
pub(crate) const PARCELS: [(&str, &str, &str); 3] = [
    ("past-1", "PX-40071", "delivered"),
    ("past-2", "PX-40072", "delivered"),
    ("past-3", "PX-40093", "on its way"),
];

pub(crate) struct Shipping;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Parcel {
    pub(crate) order: String,
    pub(crate) tracking: Option<String>,
    pub(crate) status: String,
}

impl Service for Shipping {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        match (call.route().0, &call.route().1[..]) {
            ("GET", ["parcels", order]) => Ok(json(200, &parcel(order)?)),
            _ => Err(Problem::no_such_operation(&call)),
        }
    }
}

fn parcel(order: &str) -> Result<Parcel, Problem> {
    let found = PARCELS.iter().find(|(known, _, _)| *known == order);
    let (order, tracking, status) =
        found.ok_or_else(|| Problem::new(404, format!("nothing was sent for `{order}`")))?;
    Ok(Parcel {
        order: (*order).to_owned(),
        tracking: Some((*tracking).to_owned()),
        status: (*status).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_found_by_its_order() {
        assert_eq!(parcel("past-1").unwrap().tracking.as_deref(), Some("PX-40071"));
        assert_eq!(parcel("o-1").unwrap_err().status, 404);
    }
}
