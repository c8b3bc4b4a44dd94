//! TensorBoard's event files: scalars only.
//!
//! A file is a sequence of records, `length: u64, masked CRC of it, event, masked CRC of it`, little-endian. An event
//! is the protocol buffer `Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5
//! }`, a summary is `{ repeated Value value = 1 }`, a value is `{ string tag = 1; float simple_value = 2 }`.

/// The record at the beginning of every file.
pub(crate) fn header(unix: f64) -> Vec<u8> {
    record(&event(unix, 0, &bytes_field(3, b"brain.Event:2")))
}

/// A record of scalars at a step.
pub(crate) fn scalars(unix: f64, step: usize, values: &[(String, f64)]) -> Vec<u8> {
    let summary = values.iter().fold(Vec::new(), |mut summary, (tag, value)| {
        let mut inner = bytes_field(1, tag.as_bytes());
        inner.push(2 << 3 | 5);
        inner.extend((*value as f32).to_le_bytes());
        summary.extend(bytes_field(1, &inner));
        summary
    });
    record(&event(unix, step, &bytes_field(5, &summary)))
}

fn event(unix: f64, step: usize, what: &[u8]) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(unix.to_le_bytes());
    if step > 0 {
        event.push(2 << 3);
        varint(&mut event, step as u64);
    }
    event.extend(what);
    event
}

fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    varint(&mut field, bytes.len() as u64);
    field.extend(bytes);
    field
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

/// CRC-32C, masked as the format requires, because a CRC of data that contain CRCs is weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by TensorBoard 2.21: the first record of its `FileWriter` at time 1.5, and a record of the scalar `loss`
    /// = 0.25 at step 300 and time 2.0.
    #[test]
    fn the_bytes_are_tensorboard_s() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&header(1.5)), HEADER);
        assert_eq!(hex(&scalars(2.0, 300, &[("loss".into(), 0.25)])), SCALARS);
    }

    const HEADER: &str = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c";
    const SCALARS: &str = "1b000000000000001a0d9e1309000000000000004010ac022a0d0a0b0a046c6f7373150000803e2fb3dff0";
}
