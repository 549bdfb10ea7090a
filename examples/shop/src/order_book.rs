//! Where orders are kept: in memory, and in a file if there is one, so that they survive a restart.
//!
//! Several copies of the service may share the file. Each appends a line per order under the file's lock, and reads what
//! the others wrote before it says that an order is unknown.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Most orders in memory; the oldest are forgotten.
const ORDERS_MAX: usize = 10_000;
/// Most bytes of the file; then it starts over.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) cart: String,
    pub(crate) lines: Vec<OrderLine>,
    /// Cents.
    pub(crate) total: i64,
    pub(crate) currency: String,
    pub(crate) status: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderLine {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
    /// Cents for the line.
    pub(crate) amount: i64,
}

pub(crate) struct OrderBook {
    orders: HashMap<String, Order>,
    /// Ids, oldest first.
    ages: VecDeque<String>,
    file: Option<PathBuf>,
    file_bytes_max: u64,
    /// How much of the file is in memory.
    read_bytes: u64,
}

impl OrderBook {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            orders: HashMap::new(),
            ages: VecDeque::new(),
            file,
            file_bytes_max: FILE_BYTES_MAX,
            read_bytes: 0,
        }
    }

    /// Keeps `order` unless one with its id is there already; returns the one that is kept, and whether it is new.
    pub(crate) fn insert(&mut self, order: Order) -> Result<(Order, bool)> {
        let file = self.open()?;
        if let Some(file) = &file {
            file.lock().context("locking the order book")?;
            self.catch_up(file)?;
        }
        if let Some(known) = self.orders.get(&order.id) {
            return Ok((known.clone(), false));
        }
        if let Some(mut file) = file {
            if self.read_bytes > self.file_bytes_max {
                file.set_len(0).context("starting the order book over")?;
                self.read_bytes = 0;
            }
            let line = format!("{}\n", serde_json::to_string(&order)?);
            file.write_all(line.as_bytes()).context("writing the order book")?;
            self.read_bytes += line.len() as u64;
        }
        self.remember(order.clone());
        Ok((order, true))
    }

    pub(crate) fn get(&mut self, id: &str) -> Result<Option<Order>> {
        if !self.orders.contains_key(id)
            && let Some(file) = self.open()?
        {
            file.lock_shared().context("locking the order book")?;
            self.catch_up(&file)?;
        }
        Ok(self.orders.get(id).cloned())
    }

    /// The orders of `customer`, newest first.
    pub(crate) fn of_customer(&mut self, customer: &str, limit: usize) -> Result<Vec<Order>> {
        if let Some(file) = self.open()? {
            file.lock_shared().context("locking the order book")?;
            self.catch_up(&file)?;
        }
        let newest = self.ages.iter().rev().filter_map(|id| self.orders.get(id));
        Ok(newest.filter(|order| order.customer == customer).take(limit).cloned().collect())
    }

    /// The file, unlocked. Its lock ends with the handle.
    fn open(&self) -> Result<Option<File>> {
        let Some(path) = &self.file else { return Ok(None) };
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        file.with_context(|| format!("opening the order book {}", path.display())).map(Some)
    }

    /// Reads what was written since the last time. The file is locked, so its last line is whole.
    fn catch_up(&mut self, mut file: &File) -> Result<()> {
        if file.metadata()?.len() < self.read_bytes {
            self.read_bytes = 0;
        }
        file.seek(SeekFrom::Start(self.read_bytes))?;
        for line in BufReader::new(file).lines() {
            let line = line.context("reading the order book")?;
            self.read_bytes += line.len() as u64 + 1;
            // A line cut short by a full disk was never confirmed to anybody.
            if let Ok(order) = serde_json::from_str::<Order>(&line) {
                self.remember(order);
            }
        }
        Ok(())
    }

    fn remember(&mut self, order: Order) {
        let id = order.id.clone();
        if self.orders.insert(id.clone(), order).is_none() {
            self.ages.push_back(id);
        }
        if self.ages.len() > ORDERS_MAX
            && let Some(oldest) = self.ages.pop_front()
        {
            self.orders.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> Order {
        Order {
            id: id.to_owned(),
            customer: "ada".to_owned(),
            cart: "cart-ada".to_owned(),
            lines: Vec::new(),
            total: 1,
            currency: "EUR".to_owned(),
            status: "placed".to_owned(),
        }
    }

    #[test]
    fn an_order_is_kept_once_and_the_oldest_are_forgotten() {
        let mut book = OrderBook::new(None);
        assert!(book.insert(order("o-0")).unwrap().1);
        assert!(!book.insert(Order { total: 2, ..order("o-0") }).unwrap().1);
        assert_eq!(book.get("o-0").unwrap().unwrap().total, 1);
        for number in 1..=ORDERS_MAX {
            book.insert(order(&format!("o-{number}"))).unwrap();
        }
        assert_eq!(book.get("o-0").unwrap(), None);
        assert_eq!(book.of_customer("ada", 2).unwrap()[0].id, format!("o-{ORDERS_MAX}"));
    }

    #[test]
    fn two_copies_share_a_file_and_a_third_starts_from_it() {
        let path = std::env::temp_dir().join(format!("shop-order-book-{}.jsonl", std::process::id()));
        drop(std::fs::remove_file(&path));
        let (mut one, mut two) = (OrderBook::new(Some(path.clone())), OrderBook::new(Some(path.clone())));
        assert!(one.insert(order("o-1")).unwrap().1);
        assert!(!two.insert(order("o-1")).unwrap().1);
        assert!(two.insert(order("o-2")).unwrap().1);
        assert!(one.get("o-2").unwrap().is_some());
        assert_eq!(OrderBook::new(Some(path.clone())).of_customer("ada", 9).unwrap().len(), 2);

        // One that is full starts over; what the others have read stays known to them.
        one.file_bytes_max = 100;
        assert!(one.insert(order("o-3")).unwrap().1);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert!(two.get("o-3").unwrap().is_some() && two.get("o-1").unwrap().is_some());
        std::fs::remove_file(path).unwrap();
    }
}
