//! ClickHouse's Native format, and rows of `events` in it, column by column.
//!
//! Native because a body that was cut short can never be taken for a smaller block: the number of
//! rows stands at the front of it.

mod dictionary;

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use dictionary::Dictionary;
use event::{EventRef, IdOrigin, UserOrigin};

/// A column of the block.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    kind: &'static str,
    values: Values,
}

/// Where the values of a column are.
enum Values {
    /// Each text once, and per row which.
    Texts(fn(&Columns) -> &Dictionary),
    /// Bytes that are sent as they are.
    Plain(fn(&Columns) -> &Vec<u8>),
    Props,
    /// The same in all rows.
    Log,
    /// The same in all rows of a part.
    Owner,
}

/// The columns, in order. Plain strings stand for the keys of `props`, of which ClickHouse builds a
/// dictionary itself: sent as one they cost it as much.
pub(crate) const COLUMNS: [Column; 23] = {
    const fn texts(name: &'static str, texts: fn(&Columns) -> &Dictionary) -> Column {
        column(name, "LowCardinality(String)", Values::Texts(texts))
    }
    const fn plain(
        name: &'static str,
        kind: &'static str,
        bytes: fn(&Columns) -> &Vec<u8>,
    ) -> Column {
        column(name, kind, Values::Plain(bytes))
    }
    const fn column(name: &'static str, kind: &'static str, values: Values) -> Column {
        Column { name, kind, values }
    }
    [
        texts("site_id", |columns| &columns.site_id),
        texts("event_type", |columns| &columns.event_type),
        texts("path", |columns| &columns.path),
        plain("user_id", "String", |columns| &columns.user_id),
        plain("timestamp", "DateTime64(3, 'UTC')", |columns| {
            &columns.timestamp
        }),
        texts("referrer", |columns| &columns.referrer),
        column("props", "Map(String, String)", Values::Props),
        plain("_id_delta", "Int64", |columns| &columns.id_delta),
        plain("_id_low", "UInt64", |columns| &columns.id_low),
        plain("_id_origin", "Enum8('edge' = 0, 'client' = 1)", |columns| {
            &columns.id_origin
        }),
        plain("_lag_ms", "Int64", |columns| &columns.lag_ms),
        plain("_partition", "UInt16", |columns| &columns.partition),
        plain("_offset", "UInt64", |columns| &columns.offset),
        plain("_index", "UInt16", |columns| &columns.index),
        texts("hostname", |columns| &columns.hostname),
        texts("_source", |columns| &columns.source),
        texts("_agent", |columns| &columns.agent),
        texts("_place", |columns| &columns.place),
        texts("language", |columns| &columns.language),
        texts("screen", |columns| &columns.screen),
        plain(
            "user_origin",
            "Enum8('client' = 0, 'edge' = 1)",
            |columns| &columns.user_origin,
        ),
        column("_log", "UInt32", Values::Log),
        column("_owner", "UInt64", Values::Owner),
    ]
};
/// Not worth giving back.
const SMALL_BYTES: usize = 64 * 1024;

/// Rows of one partition, in the order of their offsets.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    rows: usize,
    site_id: Dictionary,
    event_type: Dictionary,
    path: Dictionary,
    user_id: Vec<u8>,
    timestamp: Vec<u8>,
    referrer: Dictionary,
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
    hostname: Dictionary,
    source: Dictionary,
    agent: Dictionary,
    place: Dictionary,
    language: Dictionary,
    screen: Dictionary,
    user_origin: Vec<u8>,
}

impl Columns {
    pub(crate) fn push(&mut self, event: &EventRef<'_>, partition: u16, offset: u64, index: u16) {
        let timestamp = event.timestamp.timestamp_millis();
        let (id_high, id_low) = event.id.uuid.as_u64_pair();
        // The upper half of a UUIDv7 made on receipt is its time and the version: near nothing is
        // left of it. The subtraction wraps, so any UUID survives the way back.
        let expected = (timestamp << 16) | 0x7000;
        let id_delta = id_high.cast_signed().wrapping_sub(expected);

        self.site_id.push(event.site_id.as_str());
        self.event_type.push(event.event_type.as_str());
        self.path.push(event.path.as_str());
        put_string(&mut self.user_id, event.user_id);
        self.timestamp.put_i64_le(timestamp);
        self.referrer.push(event.referrer);
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
        let context = &event.context;
        self.hostname.push(context.hostname);
        self.source.push(context.source);
        self.agent.push(context.agent);
        self.place.push(context.place);
        self.language.push(context.language);
        self.screen.push(context.screen);
        self.user_origin.put_u8(match context.user_origin {
            UserOrigin::Client => 0,
            UserOrigin::Edge => 1,
        });
        self.rows += 1;
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Offset and index of each row.
    #[cfg(test)]
    pub(crate) fn places(&self) -> Vec<(u64, u16)> {
        let offsets = self.offset.as_chunks().0.iter();
        let indices = self.index.as_chunks().0.iter();
        let place = |(offset, index): (&[u8; 8], &[u8; 2])| {
            (u64::from_le_bytes(*offset), u16::from_le_bytes(*index))
        };
        offsets.zip(indices).map(place).collect()
    }

    /// Bytes of all columns.
    pub(crate) fn bytes(&self) -> usize {
        let plain: usize = self.plain().iter().map(|column| column.len()).sum();
        let texts: usize = self.dictionaries().iter().map(|texts| texts.bytes()).sum();
        plain + texts + self.props_ends.len() * 8
    }

    /// What they could hold without growing.
    fn reserved(&self) -> usize {
        let plain: usize = self.plain().iter().map(|column| column.capacity()).sum();
        let texts: usize = self
            .dictionaries()
            .iter()
            .map(|texts| texts.reserved())
            .sum();
        plain + texts + self.props_ends.capacity() * 8
    }

    /// Without rows, in the same memory: what grows again for each cut has to be cleared by the
    /// system, page by page. New ones if the rows left most of it unused.
    pub(crate) fn emptied(mut self) -> Self {
        // A vector that grows doubles.
        if self.reserved() > 2 * self.bytes() + SMALL_BYTES {
            return Self::default();
        }
        self.rows = 0;
        for texts in [
            &mut self.site_id,
            &mut self.event_type,
            &mut self.path,
            &mut self.referrer,
            &mut self.hostname,
            &mut self.source,
            &mut self.agent,
            &mut self.place,
            &mut self.language,
            &mut self.screen,
        ] {
            texts.clear();
        }
        self.props_ends.clear();
        for column in [
            &mut self.user_id,
            &mut self.timestamp,
            &mut self.props_keys,
            &mut self.props_values,
            &mut self.id_delta,
            &mut self.id_low,
            &mut self.id_origin,
            &mut self.lag_ms,
            &mut self.partition,
            &mut self.offset,
            &mut self.index,
            &mut self.user_origin,
        ] {
            column.clear();
        }
        self
    }

    fn dictionaries(&self) -> [&Dictionary; 10] {
        [
            &self.site_id,
            &self.event_type,
            &self.path,
            &self.referrer,
            &self.hostname,
            &self.source,
            &self.agent,
            &self.place,
            &self.language,
            &self.screen,
        ]
    }

    /// Those whose bytes are sent as they are.
    fn plain(&self) -> [&Vec<u8>; 12] {
        [
            &self.user_id,
            &self.timestamp,
            &self.props_keys,
            &self.props_values,
            &self.id_delta,
            &self.id_low,
            &self.id_origin,
            &self.lag_ms,
            &self.partition,
            &self.offset,
            &self.index,
            &self.user_origin,
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
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) parts: Vec<Part>,
    pub(crate) log: u32,
}

impl Rows {
    pub(crate) fn count(&self) -> usize {
        self.parts.iter().map(|part| part.columns.rows()).sum()
    }

    /// Bytes of all columns.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.columns.bytes()).sum()
    }

    /// The block, in pieces of `piece_bytes`; the last may be smaller. It is never there as a
    /// whole: that would be as much memory again, touched once.
    pub(crate) fn pieces(&self, piece_bytes: usize) -> impl Iterator<Item = Bytes> + Send {
        let mut segments = self.segments();
        let mut segment: Cow<'_, [u8]> = Cow::Borrowed(&[]);
        let mut taken = 0;
        std::iter::from_fn(move || {
            let mut piece = BytesMut::with_capacity(piece_bytes);
            while piece.len() < piece_bytes {
                let rest = &segment[taken..];
                if rest.is_empty() {
                    match segments.next() {
                        Some(next) => (segment, taken) = (next, 0),
                        None => break,
                    }
                    continue;
                }
                let some = rest.len().min(piece_bytes - piece.len());
                piece.put_slice(&rest[..some]);
                taken += some;
            }
            (!piece.is_empty()).then(|| piece.freeze())
        })
    }

    /// What the block consists of, in order.
    fn segments(&self) -> impl Iterator<Item = Cow<'_, [u8]>> + Send {
        let mut head = Vec::new();
        put_varint(&mut head, COLUMNS.len() as u64);
        put_varint(&mut head, self.count() as u64);
        let columns = COLUMNS.into_iter().flat_map(|column| {
            let mut head = Vec::new();
            put_string(&mut head, column.name);
            put_string(&mut head, column.kind);
            std::iter::once(Cow::Owned(head)).chain(self.values(&column.values))
        });
        std::iter::once(Cow::Owned(head)).chain(columns)
    }

    fn values(&self, values: &Values) -> Vec<Cow<'_, [u8]>> {
        let parts = self.parts.iter();
        match values {
            Values::Texts(texts) => {
                let texts = parts.map(|part| texts(&part.columns));
                vec![Dictionary::column(texts).into()]
            }
            Values::Plain(bytes) => parts.map(|part| bytes(&part.columns)[..].into()).collect(),
            Values::Props => self.props(),
            Values::Log => vec![self.log.to_le_bytes().repeat(self.count()).into()],
            Values::Owner => parts
                .map(|part| part.owner.to_le_bytes().repeat(part.columns.rows()).into())
                .collect(),
        }
    }

    /// A map column is where each row's entries end, then all keys, then all values.
    fn props(&self) -> Vec<Cow<'_, [u8]>> {
        let mut ends = Vec::with_capacity(self.count() * 8);
        let mut before = 0;
        for Part { columns, .. } in &self.parts {
            for end in &columns.props_ends {
                ends.put_u64_le(before + end);
            }
            before += columns.props_ends.last().copied().unwrap_or(0);
        }
        let parts = self.parts.iter();
        let keys = parts.clone().map(|part| &part.columns.props_keys[..]);
        let values = parts.map(|part| &part.columns.props_values[..]);
        std::iter::once(ends.into())
            .chain(keys.chain(values).map(Cow::Borrowed))
            .collect()
    }
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
