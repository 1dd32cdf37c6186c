//! The one thread that appends: it takes what waits, writes it in one piece, syncs once, and then
//! tells everybody.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::frame::{self, Frame};
use super::segment::{Open, now_millis};
use super::{Shared, SpoolError};

/// A segment is closed beyond this. Small enough to be read whole, and sent again whole where the
/// service died while it went to Kafka.
const SEGMENT_BYTES: u64 = 16 << 20;
/// What one sync covers at most.
const GROUP_BYTES_MAX: usize = 8 << 20;

pub(super) enum Order {
    Append(Append),
    /// Closes the open segment, so that it can be read; the answer comes once that is done.
    Close(oneshot::Sender<()>),
}

pub(super) struct Append {
    pub(super) partition: u32,
    pub(super) record: Bytes,
    pub(super) done: oneshot::Sender<Result<(), SpoolError>>,
}

pub(super) struct Writer {
    dir: PathBuf,
    shared: Arc<Shared>,
    open: Option<Open>,
    next_number: u64,
}

impl Writer {
    pub(super) fn new(dir: PathBuf, shared: Arc<Shared>, next_number: u64) -> Self {
        Self {
            dir,
            shared,
            open: None,
            next_number,
        }
    }

    /// Works until nobody can order any more.
    pub(super) fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut held_back = None;
        while let Some(order) = held_back.take().or_else(|| orders.blocking_recv()) {
            match order {
                Order::Close(done) => {
                    self.close();
                    // Who asked may have gone.
                    let _ = done.send(());
                }
                Order::Append(first) => {
                    let mut bytes = first.record.len();
                    let mut group = vec![first];
                    while bytes < GROUP_BYTES_MAX {
                        match orders.try_recv() {
                            Ok(Order::Append(append)) => {
                                bytes += append.record.len();
                                group.push(append);
                            }
                            Ok(close) => {
                                held_back = Some(close);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append(group);
                }
            }
        }
        self.close();
    }

    fn append(&mut self, group: Vec<Append>) {
        let room = self.shared.room();
        let mut bytes = Vec::with_capacity(group.iter().map(Append::frame_bytes).sum());
        let mut held = Vec::with_capacity(group.len());
        let number = self
            .open
            .as_ref()
            .map_or(self.next_number, |open| open.segment.number);
        let appended_at = now_millis();
        for append in group {
            if (bytes.len() + append.frame_bytes()) as u64 > room {
                append.answer(Err(SpoolError::Full(self.shared.bytes_max)));
                continue;
            }
            let frame = Frame {
                partition: append.partition,
                appended_at,
                record: &append.record,
            };
            frame::write(&mut bytes, number, frame);
            held.push(append);
        }
        if held.is_empty() {
            return;
        }
        let outcome = self.write(&bytes, appended_at);
        for append in held {
            append.answer(outcome.clone());
        }
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.segment.bytes >= SEGMENT_BYTES)
        {
            self.close();
        }
    }

    fn write(&mut self, frames: &[u8], appended_at: u64) -> Result<(), SpoolError> {
        let open = match self.open.take() {
            Some(open) => self.open.insert(open),
            None => {
                let number = self.next_number;
                // Before: what a failed attempt left behind may have this number for good.
                self.next_number += 1;
                let open = Open::create(&self.dir, number, appended_at)
                    .map_err(|error| self.refused("make a segment", &error))?;
                self.open.insert(open)
            }
        };
        if let Err((error, is_as_before)) = open.append(frames) {
            if !is_as_before {
                self.abandon();
            }
            return Err(self.refused("append", &error));
        }
        let synced = open.sync();
        let segment = open.segment;
        self.shared.grew(frames.len() as u64, segment);
        synced.map_err(|error| {
            // What a failed sync has left on the disk is unknown, for these frames and later ones.
            self.abandon();
            SpoolError::Unsynced(self.shared.fault("sync", &error))
        })
    }

    /// Marks the open segment as closed in order, if the disk takes the mark.
    fn close(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let mut mark = Vec::new();
        frame::write_closed(&mut mark, open.segment.number);
        match open.append(&mark) {
            Ok(()) => self.shared.grew(mark.len() as u64, open.segment),
            Err((error, _)) => warn!("mark a segment of the spool as closed: {error}"),
        }
        self.shared.close(open.segment);
    }

    /// Closes the open segment as it is.
    fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            self.shared.close(open.segment);
        }
    }

    fn refused(&self, attempt: &str, error: &io::Error) -> SpoolError {
        SpoolError::Disk(self.shared.fault(attempt, error))
    }
}

impl Append {
    fn frame_bytes(&self) -> usize {
        frame::HEAD_BYTES + self.record.len()
    }

    fn answer(self, outcome: Result<(), SpoolError>) {
        // Nobody may be waiting any more; the flush is as safe or not.
        let _ = self.done.send(outcome);
    }
}
