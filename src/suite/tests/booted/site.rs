//! A machine on which the suite is configured, with a broker on its loopback or without one.

use std::time::Duration;

use broker::{Broker, PASSWORD, Publisher, StreamOptions, USER, Version};
use suite::Machine;

pub(crate) const QUEUE: &str = "azaion-queue.service";
pub(crate) const STREAM: &str = "cells";
pub(crate) const SECRET: &str = "/etc/azaion/secrets/rabbitmq-password";
/// A port at which nobody listens.
pub(crate) const NO_BROKER: u16 = 7007;
/// A busy machine needs seconds for what takes a tenth of one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A configured machine without a broker: `port` is where the queue looks for one.
pub(crate) fn configured(test: &str, port: u16) -> Option<Machine> {
    let machine = Machine::for_test(test)?;
    configure(&machine, port);
    Some(machine)
}

fn configure(machine: &Machine, port: u16) {
    let config =
        format!("rabbitmq:\n  port: {port}\n  user: {USER}\n  queue_name: {STREAM}\n  heartbeat_s: 1\n");
    machine.write("/etc/azaion/config.yaml", 0o640, config).unwrap();
    machine.write(SECRET, 0o600, format!("{PASSWORD}\n")).unwrap();
}

/// A machine with a broker.
pub(crate) struct Site {
    // Dropped first: its processes are on the machine's network.
    pub(crate) broker: Broker,
    pub(crate) machine: Machine,
}

impl Site {
    /// A configured machine whose broker has no stream yet.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let machine = Machine::for_test(test)?;
        let broker = machine
            .on_its_network(|| Broker::for_test(test, Version::V4_0))
            .unwrap()?;
        configure(&machine, broker.port());
        Some(Self { broker, machine })
    }

    /// The same with a stream, and with the queue at work.
    pub(crate) fn at_work(test: &str) -> Option<Self> {
        let site = Self::new(test)?;
        site.create_stream();
        site.machine
            .ask(&["systemctl", "start", "azaion.target"])
            .unwrap();
        site.machine
            .await_property(QUEUE, "ActiveState", "active", PATIENCE)
            .unwrap();
        Some(site)
    }

    pub(crate) fn create_stream(&self) {
        let create = || self.broker.create_stream(STREAM, &StreamOptions::default());
        self.machine.on_its_network(create).unwrap().unwrap();
    }

    pub(crate) fn publisher(&self) -> Publisher {
        self.machine
            .on_its_network(|| self.broker.publisher(STREAM))
            .unwrap()
            .unwrap()
    }

    /// Publishes one message and waits until the queue has taken it.
    pub(crate) fn deliver(&self, publisher: &mut Publisher) {
        let before = self.offset();
        // What it is does not matter here: it is read, and goes to quarantine.
        publisher.send(&[b"a message".to_vec()]).unwrap();
        publisher.confirm().unwrap();
        self.machine
            .wait("a message in the tree", PATIENCE, || Ok(self.offset() > before))
            .unwrap();
    }

    /// The offset that is durable; 0 before the first.
    pub(crate) fn offset(&self) -> u64 {
        let text = self.machine.read("/azaion/offset.yaml").unwrap_or_default();
        let offset = text.lines().find_map(|line| line.strip_prefix("offset: "));
        offset.map_or(0, |offset| offset.parse().unwrap())
    }

    /// The queue's process, as the machine numbers it.
    pub(crate) fn pid(&self) -> String {
        self.machine.property(QUEUE, "MainPID").unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let signal = format!("--signal={signal}");
        self.machine
            .ask(&["systemctl", "kill", "--kill-whom=main", &signal, QUEUE])
            .unwrap();
    }

    /// Waits until the queue is active again, as another process than `before`.
    pub(crate) fn await_return(&self, before: &str) {
        self.machine
            .wait("the queue's return", PATIENCE, || {
                let state = self.machine.property(QUEUE, "ActiveState")?;
                Ok(state == "active" && self.pid() != before)
            })
            .unwrap();
    }
}
