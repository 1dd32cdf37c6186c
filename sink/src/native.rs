//! ClickHouse's Native format, and rows of `events` in it, column by column.
//!
//! Native because a body that was cut short can never be taken for a smaller block: the number of
//! rows stands at the front of it.

use bytes::{BufMut, Bytes, BytesMut};
use event::{EventRef, IdOrigin};

/// The columns in the order of [`Columns::in_order`]. Plain strings stand for `LowCardinality`
/// ones: ClickHouse builds the dictionaries itself, per part.
pub(crate) const COLUMNS: [(&str, &str); 16] = [
    ("site_id", "String"),
    ("event_type", "String"),
    ("path", "String"),
    ("user_id", "String"),
    ("timestamp", "DateTime64(3, 'UTC')"),
    ("referrer", "String"),
    ("props", "Map(String, String)"),
    ("_id_delta", "Int64"),
    ("_id_low", "UInt64"),
    ("_id_origin", "Enum8('edge' = 0, 'client' = 1)"),
    ("_lag_ms", "Int64"),
    ("_partition", "UInt16"),
    ("_offset", "UInt64"),
    ("_index", "UInt16"),
    ("_log", "UInt32"),
    ("_owner", "UInt64"),
];
const PROPS: usize = 6;
const LOG: usize = 14;
const OWNER: usize = 15;

/// Rows of one partition, in the order of their offsets.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    rows: usize,
    site_id: Vec<u8>,
    event_type: Vec<u8>,
    path: Vec<u8>,
    user_id: Vec<u8>,
    timestamp: Vec<u8>,
    referrer: Vec<u8>,
    /// Per row, how many properties it and all rows before it have.
    props_ends: Vec<u64>,
    props_keys: Vec<u8>,
    props_values: Vec<u8>,
    id_delta: Vec<u8>,
    id_low: Vec<u8>,
    id_origin: Vec<u8>,
    lag_ms: Vec<u8>,
    partition: Vec<u8>,
    offset: Vec<u8>,
    index: Vec<u8>,
}

impl Columns {
    pub(crate) fn push(&mut self, event: &EventRef<'_>, partition: u16, offset: u64, index: u16) {
        let timestamp = event.timestamp.timestamp_millis();
        let (id_high, id_low) = event.id.uuid.as_u64_pair();
        // The upper half of a UUIDv7 made on receipt is its time and the version: near nothing is
        // left of it. The subtraction wraps, so any UUID survives the way back.
        let expected = (timestamp << 16) | 0x7000;
        let id_delta = id_high.cast_signed().wrapping_sub(expected);

        put_string(&mut self.site_id, event.site_id.as_str());
        put_string(&mut self.event_type, event.event_type.as_str());
        put_string(&mut self.path, event.path.as_str());
        put_string(&mut self.user_id, event.user_id);
        self.timestamp.put_i64_le(timestamp);
        put_string(&mut self.referrer, event.referrer);
        let mut props = self.props_ends.last().copied().unwrap_or(0);
        event.for_each_prop(|key, value| {
            put_string(&mut self.props_keys, key);
            put_string(&mut self.props_values, value);
            props += 1;
        });
        self.props_ends.push(props);
        self.id_delta.put_i64_le(id_delta);
        self.id_low.put_u64_le(id_low);
        self.id_origin.put_u8(match event.id.origin {
            IdOrigin::Edge => 0,
            IdOrigin::Client => 1,
        });
        self.lag_ms
            .put_i64_le(event.received_at.timestamp_millis() - timestamp);
        self.partition.put_u16_le(partition);
        self.offset.put_u64_le(offset);
        self.index.put_u16_le(index);
        self.rows += 1;
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of all columns.
    pub(crate) fn bytes(&self) -> usize {
        let plain: usize = self.in_order().iter().map(|column| column.len()).sum();
        plain + self.props_ends.len() * 8 + self.props_keys.len() + self.props_values.len()
    }

    /// The columns' bytes; those of `props` and the constant ones are made when the block is.
    fn in_order(&self) -> [&[u8]; LOG] {
        [
            &self.site_id,
            &self.event_type,
            &self.path,
            &self.user_id,
            &self.timestamp,
            &self.referrer,
            &[],
            &self.id_delta,
            &self.id_low,
            &self.id_origin,
            &self.lag_ms,
            &self.partition,
            &self.offset,
            &self.index,
        ]
    }
}

/// Rows of one partition, and who inserts them.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) columns: Columns,
    /// Who took the partition over; the server refuses anybody else.
    pub(crate) owner: u64,
}

/// One block of all `parts`, one after the other, of one life of the topic. The same parts give
/// the same bytes.
pub(crate) fn encode(parts: &[Part], log: u32) -> Bytes {
    const HEADERS_BYTES: usize = 1024;
    const CONSTANTS_BYTES: usize = 4 + 8;
    let rows: usize = parts.iter().map(|part| part.columns.rows()).sum();
    let bytes: usize = parts.iter().map(|part| part.columns.bytes()).sum();
    let mut block = Block::new(
        COLUMNS.len(),
        rows,
        HEADERS_BYTES + bytes + rows * CONSTANTS_BYTES,
    );
    for (column, (name, kind)) in COLUMNS.into_iter().enumerate() {
        let block = block.column(name, kind);
        match column {
            PROPS => put_props(block, parts),
            LOG => (0..rows).for_each(|_| block.put_u32_le(log)),
            OWNER => {
                for part in parts {
                    (0..part.columns.rows()).for_each(|_| block.put_u64_le(part.owner));
                }
            }
            _ => {
                for part in parts {
                    block.put_slice(part.columns.in_order()[column]);
                }
            }
        }
    }
    block.finish()
}

/// A block under construction.
pub(crate) struct Block(BytesMut);

impl Block {
    pub(crate) fn new(columns: usize, rows: usize, bytes: usize) -> Self {
        let mut block = BytesMut::with_capacity(bytes);
        put_varint(&mut block, columns as u64);
        put_varint(&mut block, rows as u64);
        Self(block)
    }

    /// Begins a column; its values are to be put where this points.
    pub(crate) fn column(&mut self, name: &str, kind: &str) -> &mut BytesMut {
        put_string(&mut self.0, name);
        put_string(&mut self.0, kind);
        &mut self.0
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// A map column is where each row's entries end, then all keys, then all values.
fn put_props(block: &mut BytesMut, parts: &[Part]) {
    let mut before = 0;
    for Part { columns, .. } in parts {
        for end in &columns.props_ends {
            block.put_u64_le(before + end);
        }
        before += columns.props_ends.last().copied().unwrap_or(0);
    }
    for part in parts {
        block.put_slice(&part.columns.props_keys);
    }
    for part in parts {
        block.put_slice(&part.columns.props_values);
    }
}

fn put_string(target: &mut impl BufMut, text: &str) {
    put_varint(target, text.len() as u64);
    target.put_slice(text.as_bytes());
}

/// LEB128.
fn put_varint(target: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        target.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    target.put_u8(value as u8);
}

#[cfg(test)]
mod tests;
