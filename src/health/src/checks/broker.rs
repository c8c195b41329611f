//! The broker (HLT-2): does it take a connection? What it says over it is asked in full passes (`stream`).

use super::{Context, Found, found};
use crate::{Reading, catalog};
use std::{
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

const CHECK: &str = "broker";
const LIMIT: Duration = Duration::from_secs(3);

pub(super) fn look(context: &Context) -> Found {
    let broker = &context.config.rabbitmq;
    let place = format!("{}:{}", broker.host, broker.port);
    found(vec![
        match connect(&broker.host, broker.port) {
            Ok(took) => Reading::ok(
                CHECK,
                place,
                format!("took a connection in {} ms", took.as_millis()),
            ),
            Err(why) => Reading::problem(CHECK, place, format!("takes no connection: {why}")),
        }
        .about(catalog::BROKER_AWAY),
    ])
}

/// Connects, to any of the addresses that the name has.
fn connect(host: &str, port: u16) -> Result<Duration, String> {
    let begun = Instant::now();
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the name {host} leads nowhere: {error}"))?;
    let mut why = format!("the name {host} has no address");
    for address in addresses {
        let left = LIMIT
            .saturating_sub(begun.elapsed())
            .max(Duration::from_millis(100));
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(begun.elapsed()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_nobody_listens_at_is_a_problem() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        context.config.rabbitmq.port = listener.local_addr().unwrap().port();
        assert_eq!(look(&context).readings[0].grade, Grade::Ok);
        drop(listener);
        let reading = &look(&context).readings[0];
        assert_eq!(
            (reading.grade, reading.alert.as_deref()),
            (Grade::Problem, Some("ALR-10"))
        );
        assert!(reading.what.contains("refused"), "{}", reading.what);
        context.config.rabbitmq.host = "no such name.invalid".into();
        assert!(look(&context).readings[0].what.contains("leads nowhere"));
    }
}
