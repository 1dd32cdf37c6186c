//! Tells an async task when a Kafka client has something to say, so that no thread has to wait for
//! it in the client's own poll.
#![expect(
    unsafe_code,
    reason = "rdkafka has no safe call that ties a client's queue to a file descriptor; every call is made here"
)]

use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::bindings as ffi;
use rdkafka::client::Client;
use tokio::net::unix::pipe;

/// What the client writes: any byte will do.
const WORD: &[u8; 1] = b"!";
/// What is read at once; the client writes one byte each time that its queue was empty before.
const READ_BYTES: usize = 64;

/// The main queue of a client, and the pipe into which the client writes when the queue is no
/// longer empty.
pub struct Wakeup {
    queue: Queue,
    readable: pipe::Receiver,
    /// The client writes to its descriptor.
    _writable: pipe::Sender,
}

/// A reference to a client's main queue. It keeps the client's inner parts alive, as every queue
/// handle of librdkafka does, but says nothing any more once the client is destroyed.
#[derive(Clone)]
pub struct Queue(Arc<Handle>);

struct Handle(NonNull<ffi::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues have a lock of their own and may be used from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from `rd_kafka_queue_get_main`, which asks for this as its end.
        unsafe { ffi::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

impl Queue {
    /// Whether nothing waits to be polled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // SAFETY: the handle is whole until it is dropped.
        unsafe { ffi::rd_kafka_queue_length(self.0.0.as_ptr()) == 0 }
    }
}

impl Wakeup {
    /// Ties a pipe to the main queue of `client`, in the runtime of the caller.
    ///
    /// # Errors
    /// If there can be no pipe, or the client has no main queue.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn of<C: ClientContext>(client: &Client<C>) -> io::Result<Self> {
        let (writable, readable) = pipe::pipe()?;
        // SAFETY: the client is alive for this call, and the handle is owned from here on.
        let queue = unsafe { ffi::rd_kafka_queue_get_main(client.native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| io::Error::other("no main queue"))?;
        let queue = Queue(Arc::new(Handle(queue)));
        // SAFETY: the client copies the word and keeps the descriptor, which `drop` takes from it
        // before it is closed. It is not blocking, so the client never waits for a reader.
        unsafe {
            ffi::rd_kafka_queue_io_event_enable(
                queue.0.0.as_ptr(),
                writable.as_raw_fd(),
                WORD.as_ptr().cast(),
                WORD.len(),
            );
        }
        Ok(Self {
            queue,
            readable,
            _writable: writable,
        })
    }

    /// The queue that is watched.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Returns once the queue was not empty. It has to be polled until it is, or nothing will be
    /// heard of it again.
    ///
    /// # Errors
    /// If the pipe is broken, which nothing but this process could have done.
    pub async fn heard(&self) -> io::Result<()> {
        let mut words = [0; READ_BYTES];
        loop {
            self.readable.readable().await?;
            match self.readable.try_read(&mut words) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        // SAFETY: a descriptor of -1 says that no event is wanted any more; the queue's lock orders
        // this before the close that follows.
        unsafe {
            ffi::rd_kafka_queue_io_event_enable(self.queue.0.0.as_ptr(), -1, std::ptr::null(), 0);
        }
    }
}
