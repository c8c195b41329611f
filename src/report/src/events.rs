//! TensorBoard's event files, as bytes: records of `Event` messages.
//!
//! A file is a row of records: the length (8 bytes), its masked CRC-32C, the message, its masked CRC-32C, all little endian.
//! The first message names the version; each later one is a step with its values, or a restart: a reader forgets what older
//! files say of its step and later ones, so that a run that was gone on with has every step once. The messages are written
//! field by field; there are few of them. Facts: TensorFlow's public `event.proto`, `summary.proto`, `tensor.proto` and the
//! description of its record format; TensorBoard's `pr_curve` plugin for the six rows of a curve. The tests of `train` have
//! the real TensorBoard read what is written here.

/// A value of a step.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number over the steps.
    Scalar {
        /// Its name; what stands before a `/` groups them.
        tag: String,
        /// The number.
        value: f64,
    },
    /// A picture.
    Image {
        /// Its name.
        tag: String,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// The picture as JPEG.
        jpeg: Vec<u8>,
    },
    /// Precision over recall.
    PrCurve {
        /// Its name.
        tag: String,
        /// What is counted: true boxes.
        instances: u64,
        /// Precision and recall at thresholds from 0 to 1, evenly.
        points: Vec<(f64, f64)>,
    },
}

/// The record that a file begins with.
#[must_use]
pub fn version(wall_time: f64) -> Vec<u8> {
    record(
        &event(wall_time, 0)
            .bytes(event_field::FILE_VERSION, b"brain.Event:2")
            .0,
    )
}

/// The record that says: from this step on, only what follows counts.
#[must_use]
pub fn restart(wall_time: f64, step: i64) -> Vec<u8> {
    const STATUS: u32 = 1;
    const START: u64 = 1;
    let log = Message::default().varint(STATUS, START);
    record(&event(wall_time, step).message(event_field::SESSION_LOG, &log).0)
}

/// The record of a step's values.
#[must_use]
pub fn step(wall_time: f64, step: i64, values: &[Value]) -> Vec<u8> {
    const VALUE: u32 = 1;
    let summary = values.iter().fold(Message::default(), |summary, value| {
        summary.message(VALUE, &value.message())
    });
    record(&event(wall_time, step).message(event_field::SUMMARY, &summary).0)
}

/// Fields of `Event`.
mod event_field {
    pub(super) const WALL_TIME: u32 = 1;
    pub(super) const STEP: u32 = 2;
    pub(super) const FILE_VERSION: u32 = 3;
    pub(super) const SUMMARY: u32 = 5;
    pub(super) const SESSION_LOG: u32 = 7;
}

fn event(wall_time: f64, step: i64) -> Message {
    Message::default()
        .double(event_field::WALL_TIME, wall_time)
        .varint(event_field::STEP, step.cast_unsigned())
}

impl Value {
    /// As `Summary.Value`.
    fn message(&self) -> Message {
        const TAG: u32 = 1;
        const SIMPLE_VALUE: u32 = 2;
        const IMAGE: u32 = 4;
        const TENSOR: u32 = 8;
        const METADATA: u32 = 9;
        match self {
            Self::Scalar { tag, value } => Message::default()
                .bytes(TAG, tag.as_bytes())
                .float(SIMPLE_VALUE, *value as f32),
            Self::Image {
                tag,
                width,
                height,
                jpeg,
            } => Message::default()
                .bytes(TAG, tag.as_bytes())
                .message(IMAGE, &image(*width, *height, jpeg)),
            Self::PrCurve {
                tag,
                instances,
                points,
            } => Message::default()
                .bytes(TAG, tag.as_bytes())
                .message(TENSOR, &curve(*instances, points))
                .message(METADATA, &curve_metadata(points.len())),
        }
    }
}

/// `Summary.Image`.
fn image(width: u32, height: u32, jpeg: &[u8]) -> Message {
    const RGB: u64 = 3;
    Message::default()
        .varint(1, height.into())
        .varint(2, width.into())
        .varint(3, RGB)
        .bytes(4, jpeg)
}

/// `TensorProto` of six rows: true positives, false positives, true negatives, false negatives, precision, recall. A
/// detector has no true negatives to count.
fn curve(instances: u64, points: &[(f64, f64)]) -> Message {
    const FLOAT: u64 = 1;
    let hits = |recall: f64| recall * instances as f64;
    let invented = |(precision, recall): (f64, f64)| {
        if precision > 0.0 {
            hits(recall) * (1.0 - precision) / precision
        } else {
            0.0
        }
    };
    let rows: [&dyn Fn((f64, f64)) -> f64; 6] = [
        &|(_, recall)| hits(recall),
        &invented,
        &|_| 0.0,
        &|(_, recall)| instances as f64 - hits(recall),
        &|(precision, _)| precision,
        &|(_, recall)| recall,
    ];
    let numbers: Vec<u8> = rows
        .iter()
        .flat_map(|row| points.iter().map(|point| row(*point) as f32))
        .flat_map(f32::to_le_bytes)
        .collect();
    let side = |size: usize| Message::default().varint(1, size as u64);
    let shape = Message::default()
        .message(2, &side(rows.len()))
        .message(2, &side(points.len()));
    Message::default()
        .varint(1, FLOAT)
        .message(2, &shape)
        .bytes(4, &numbers)
}

/// `SummaryMetadata` that hands the tensor to the plugin.
fn curve_metadata(thresholds: usize) -> Message {
    const TENSOR: u64 = 2;
    let content = Message::default().varint(2, thresholds as u64);
    let plugin = Message::default().bytes(1, b"pr_curves").bytes(2, &content.0);
    Message::default().message(1, &plugin).varint(4, TENSOR)
}

/// A protocol buffer's message, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u32, wire: u32) {
        self.number((field << 3 | wire).into());
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn varint(mut self, field: u32, number: u64) -> Self {
        self.key(field, 0);
        self.number(number);
        self
    }

    fn double(mut self, field: u32, number: f64) -> Self {
        self.key(field, 1);
        self.0.extend(number.to_le_bytes());
        self
    }

    fn float(mut self, field: u32, number: f32) -> Self {
        self.key(field, 5);
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, 2);
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), message, &masked_crc(message)].concat()
}

/// The checksum as records hold it: turned and shifted, so that a checksum of a text with checksums in it is none of them.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    const SHIFT: u32 = 0xa282_ead8;
    crc32c(bytes).rotate_right(15).wrapping_add(SHIFT).to_le_bytes()
}

/// CRC-32C (Castagnoli's polynomial, reflected).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}

const TABLE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_that_rfc_3720_gives_examples_of() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_file_begins_with_the_bytes_that_readers_look_for() {
        let record = version(0.0);
        assert_eq!(record[..8], [26, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(record[12..23], [0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0]);
        assert_eq!(record[23..25], [0x1a, 13]);
        assert_eq!(&record[25..38], b"brain.Event:2");
        assert_eq!(record.len(), 8 + 4 + 26 + 4);
    }

    #[test]
    fn numbers_of_seven_bits_are_one_byte_and_larger_ones_more() {
        let bytes = |number| Message::default().varint(1, number).0;
        assert_eq!(bytes(127), [8, 0x7f]);
        assert_eq!(bytes(300), [8, 0xac, 0x02]);
        assert_eq!(bytes(u64::MAX).len(), 11);
    }
}
