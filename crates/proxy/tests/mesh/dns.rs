//! Services elsewhere, by name: addresses and SRV from a name server of the test's own, asked again as time goes by.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use weft_proxy::Limits;

use crate::support::wire::{Wire, echo, ok};
use crate::support::{Mesh, mesh, within};

/// What a name is.
#[derive(Clone)]
enum Record {
    A(Ipv4Addr),
    Srv { priority: u16, weight: u16, port: u16, target: &'static str },
}

/// A name server.
struct Dns {
    address: SocketAddr,
    records: Arc<Mutex<HashMap<&'static str, Vec<Record>>>>,
    /// How often each name was asked for.
    asked: watch::Receiver<HashMap<String, usize>>,
}

impl Dns {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let records = Arc::new(Mutex::new(HashMap::<&'static str, Vec<Record>>::new()));
        let (tell, asked) = watch::channel(HashMap::new());
        let known = Arc::clone(&records);
        tokio::spawn(async move {
            let mut query = [0; 1024];
            while let Ok((count, peer)) = socket.recv_from(&mut query).await {
                let (name, answer) = answer(&query[..count], &known.lock().unwrap());
                tell.send_modify(|asked: &mut HashMap<String, usize>| *asked.entry(name).or_default() += 1);
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        Dns { address, records, asked }
    }

    fn set(&self, name: &'static str, records: &[Record]) {
        self.records.lock().unwrap().insert(name, records.to_vec());
    }

    /// Waits until what is set now has been taken in: lookups of a name follow one another, so when it is asked for once
    /// more after an answer that was asked for after now, that answer is in use.
    async fn taken_in(&mut self, name: &str) {
        // A lookup is one question, or one for each family of addresses.
        let goal = self.asked.borrow().get(name).copied().unwrap_or_default() + 5;
        let often = self.asked.wait_for(|asked| asked.get(name).is_some_and(|count| *count >= goal));
        within("the name to be asked for", often).await.unwrap();
    }
}

/// The name that is asked for, and the response.
fn answer(query: &[u8], records: &HashMap<&'static str, Vec<Record>>) -> (String, Vec<u8>) {
    let (mut labels, mut place) = (Vec::new(), 12);
    while query[place] != 0 {
        let length = query[place] as usize;
        labels.push(String::from_utf8_lossy(&query[place + 1..=place + length]).to_lowercase());
        place += length + 1;
    }
    let question = &query[12..place + 5];
    let kind = u16::from_be_bytes([query[place + 1], query[place + 2]]);
    let name = labels.join(".");
    let known = records.get(name.as_str());
    let mut answers = Vec::new();
    for record in known.into_iter().flatten() {
        match record {
            Record::A(address) if kind == 1 => answers.push((1_u16, address.octets().to_vec())),
            Record::Srv { priority, weight, port, target } if kind == 33 => {
                let mut data = [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()].concat();
                for label in target.split('.') {
                    data.push(u8::try_from(label.len()).unwrap());
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                answers.push((33, data));
            }
            _ => {}
        }
    }
    let mut out = query[..2].to_vec();
    // A response with recursion; 3 is NXDOMAIN.
    out.extend_from_slice(&[0x85, if known.is_some() { 0x80 } else { 0x83 }]);
    let count = u16::try_from(answers.len()).unwrap();
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(question);
    for (kind, data) in answers {
        // The name is that of the question; class IN; a lifetime of a minute.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&data);
    }
    (name, out)
}

/// A gateway in front of a service at `url`.
async fn in_front_of(url: &str, name_server: Option<SocketAddr>) -> Mesh {
    let manifest = format!(
        "
system: test
services: {{ users: {{ url: \"{url}\" }} }}
resilience: {{ users: {{ balance: round_robin }} }}
gateway: {{ auth: none, routes: {{ ANY /**: users }} }}
"
    );
    let limits = Limits { lookup_again: Duration::from_millis(5), ..Limits::default() };
    let recipe = mesh(&manifest).limits(limits);
    match name_server {
        Some(address) => recipe.name_server(address).start().await,
        None => recipe.start().await,
    }
}

/// A service at this address that says its name and the host it is asked for.
async fn at(ip: Ipv4Addr, port: u16, name: &'static str) -> u16 {
    let listener = TcpListener::bind((ip, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut wire = Wire::new(socket);
                while let Some(request) = wire.request().await {
                    let host = request.field("host").unwrap().to_owned();
                    wire.try_write(ok(&[("x-host", &host)], name.as_bytes())).await;
                }
            });
        }
    });
    port
}

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

#[tokio::test]
async fn a_name_is_found_as_every_program_of_the_machine_finds_it() {
    let port = echo("users").await;
    let mesh = in_front_of(&format!("http://localhost:{port}/v2"), None).await;
    let answer = Wire::to(mesh.edge_address()).await.get("/list").await;
    let seen = answer.text();
    assert!(seen.starts_with("GET /v2/list "), "{seen}");
    assert!(seen.contains(&format!("host: localhost:{port}\n")), "{seen}");
    assert!(!seen.contains("weft-"), "what is ours stays inside: {seen}");
}

#[tokio::test]
async fn an_address_of_ipv6_is_one_as_good() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mesh = in_front_of(&format!("http://[::1]:{port}/v2"), None).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET /list HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (socket, _) = crate::support::within("the request", listener.accept()).await.unwrap();
    let request = Wire::new(socket).request().await.unwrap();
    assert_eq!(
        (request.line.as_str(), request.field("host")),
        ("GET /v2/list HTTP/1.1", Some(&*format!("[::1]:{port}")))
    );
}

#[tokio::test]
async fn an_address_that_changes_is_followed() {
    let mut dns = Dns::start().await;
    let port = at(FIRST, 0, "first").await;
    at(SECOND, port, "second").await;
    dns.set("users.test", &[Record::A(FIRST)]);
    let mesh = in_front_of(&format!("http://users.test:{port}"), Some(dns.address)).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer = client.get("/").await;
    assert_eq!(
        (answer.text().as_str(), answer.field("x-host")),
        ("first", Some(format!("users.test:{port}").as_str()))
    );
    dns.set("users.test", &[Record::A(SECOND)]);
    dns.taken_in("users.test").await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "second");
    }
    // A name server that knows nothing any more takes nothing away.
    dns.records.lock().unwrap().clear();
    dns.taken_in("users.test").await;
    assert_eq!(client.get("/").await.text(), "second");
}

#[tokio::test]
async fn a_service_name_leads_to_the_hosts_that_come_first() {
    let mut dns = Dns::start().await;
    let (one, two) = (at(FIRST, 0, "one").await, at(SECOND, 0, "two").await);
    let spare = at(FIRST, 0, "spare").await;
    let srv = |priority, weight, port, target| Record::Srv { priority, weight, port, target };
    let hosts = [srv(1, 10, one, "a.test"), srv(1, 10, two, "b.test"), srv(2, 10, spare, "a.test")];
    dns.set("_http._tcp.users.test", &hosts);
    dns.set("a.test", &[Record::A(FIRST)]);
    dns.set("b.test", &[Record::A(SECOND)]);
    let mesh = in_front_of("http://_http._tcp.users.test", Some(dns.address)).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let answer = client.get("/").await;
        assert_eq!(answer.field("x-host"), Some("users.test"));
        seen.push(answer.text());
    }
    seen.sort();
    assert_eq!(seen, ["one", "one", "one", "two", "two", "two"]);
    // Where none of the first can be found, the next are asked.
    dns.set("_http._tcp.users.test", &[srv(1, 10, one, "lost.test"), srv(2, 10, spare, "a.test")]);
    dns.taken_in("lost.test").await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "spare");
    }
}

#[tokio::test]
async fn shares_of_hosts_are_kept() {
    let mut dns = Dns::start().await;
    let (one, two) = (at(FIRST, 0, "one").await, at(SECOND, 0, "two").await);
    let srv = |weight, port, target| Record::Srv { priority: 1, weight, port, target };
    dns.set("_http._tcp.users.test", &[srv(30, one, "a.test"), srv(10, two, "b.test")]);
    dns.set("a.test", &[Record::A(FIRST)]);
    dns.set("b.test", &[Record::A(SECOND)]);
    let mesh = in_front_of("http://_http._tcp.users.test", Some(dns.address)).await;
    dns.taken_in("b.test").await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let mut ones = 0;
    for _ in 0..40 {
        ones += usize::from(client.get("/").await.text() == "one");
    }
    assert_eq!(ones, 30);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_said_to_be_missing() {
    let dns = Dns::start().await;
    let manifest = "
system: test
services:
  host: { url: \"http://users.test:80\" }
  service: { url: \"http://_http._tcp.users.test\" }
  tls: { url: \"https://users.test\" }
gateway: { auth: none, routes: { GET /host: host, GET /service: service, GET /tls: tls } }
";
    let mesh = mesh(manifest).name_server(dns.address).start().await;
    for path in ["/host", "/service", "/tls"] {
        let missing = Wire::to(mesh.edge_address()).await.get(path).await;
        assert_eq!((missing.status(), missing.code().as_str()), (502, "W3015"), "{path}");
    }
}

#[tokio::test]
async fn a_name_server_that_answers_nonsense_is_no_name_server() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 1024];
        while let Ok((count, peer)) = socket.recv_from(&mut query).await {
            // The question, cut, with counts that lie; and the refusal that ends the waiting.
            let mut lie = query[..count].to_vec();
            lie[2] |= 0x80;
            lie[7] = 200;
            socket.send_to(&lie, peer).await.unwrap();
            let mut refusal = query[..count].to_vec();
            (refusal[2], refusal[3]) = (refusal[2] | 0x80, 5);
            socket.send_to(&refusal, peer).await.unwrap();
        }
    });
    let mesh = in_front_of("http://users.test:80", Some(address)).await;
    let missing = Wire::to(mesh.edge_address()).await.get("/").await;
    assert_eq!((missing.status(), missing.code().as_str()), (502, "W3015"));
    assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 1]));
}
