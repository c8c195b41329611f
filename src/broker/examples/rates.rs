//! How fast the publisher fills a stream, and in which chunks: `cargo run --release -p broker --example rates`.

use std::time::Instant;

use broker::{Broker, StreamOptions, Version};

/// Bytes of a message, messages of a frame, messages in all.
const LOADS: [(usize, usize, usize); 3] = [
    (4 << 10, 100, 100_000),
    (300 << 10, 4, 2_000),
    (300 << 10, 1_000, 1_000),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for version in Version::ALL {
        let started = Instant::now();
        let broker = Broker::start(version)?;
        println!("{version}: up in {:.1} s", started.elapsed().as_secs_f64());
        for (number, (size, frame, count)) in LOADS.into_iter().enumerate() {
            let stream = format!("load-{number}");
            broker.create_stream(&stream, &StreamOptions::default())?;
            let mut publisher = broker.publisher(&stream)?;
            let messages = vec![vec![7; size]; frame];
            let started = Instant::now();
            for _ in 0..count / frame {
                publisher.send(&messages)?;
            }
            publisher.confirm()?;
            let seconds = started.elapsed().as_secs_f64();
            let chunks = broker.client()?.read(&stream, count as u64)?;
            let largest = chunks
                .iter()
                .map(|chunk| chunk.data.len())
                .max()
                .unwrap_or_default();
            println!(
                "{size} bytes: {:.0} messages/s, {:.0} MB/s, {} chunks, the largest {} MB",
                count as f64 / seconds,
                (count * size) as f64 / seconds / 1e6,
                chunks.len(),
                largest / 1_000_000
            );
            broker.delete_stream(&stream)?;
        }
    }
    Ok(())
}
