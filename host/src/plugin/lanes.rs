//! The threads that guests run on, of two kinds: usual ones, and slow ones that get little but what the others leave. A call that takes
//! far longer than its plugin's calls usually do goes on there, so that a guest that never ends costs its neighbours next to nothing
//! until its budget is used up.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};
use tracing::warn;

/// Of the slow threads: beside a busy thread of the usual kind each gets about one thirtieth of a core. With nothing at all a plugin
/// that is honest and slow would starve. Source: the weights of Linux's scheduler.
const NICENESS: i32 = 15;

/// For what runs in the slow lane to come to its next tick.
const ENDING: Duration = Duration::from_secs(5);

thread_local! {
    /// The call that this thread runs is to go on in the slow lane.
    static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Said from within a call that is about to yield: it goes on in the slow lane, to its end.
pub(super) fn give_way() {
    GIVES_WAY.set(true);
}

/// See the module.
pub(super) struct Lanes {
    usual: Handle,
    slow: Handle,
    /// Of the usual lane, then of the slow one.
    runtimes: Option<(Runtime, Runtime)>,
}

impl Lanes {
    /// So many threads of each kind.
    pub(super) fn new(n_threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(n_threads.max(1)).enable_all();
        let usual = builder.thread_name("guest").build()?;
        let slow = builder.thread_name("guest-slow").on_thread_start(step_back).build()?;
        Ok(Self { usual: usual.handle().clone(), slow: slow.handle().clone(), runtimes: Some((usual, slow)) })
    }

    /// Runs a call, until nobody waits for it any more. Errors: it panicked, or the threads are stopping.
    pub(super) async fn run<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
        let (usual, slow) = (self.usual.clone(), self.slow.clone());
        let begun = async move {
            let mut call = Box::pin(call);
            match poll_fn(|context| poll_until_it_gives_way(call.as_mut(), context)).await {
                Some(value) => Ok(value),
                // Only threads are lent: what it spawns, a connection that later calls use, say, is as quick as any.
                None => {
                    let slowly = poll_fn(move |context| {
                        let _usual = usual.enter();
                        call.as_mut().poll(context)
                    });
                    ended(slow.spawn(slowly)).await
                }
            }
        };
        ended(self.usual.spawn(begun)).await?
    }
}

impl Drop for Lanes {
    /// They may be dropped on an async thread, where a runtime must not wait for its own; and the slow lane ends first, for what runs there
    /// began in the other and still looks at its timers.
    fn drop(&mut self) {
        let Some((usual, slow)) = self.runtimes.take() else { return };
        let end = move || {
            slow.shutdown_timeout(ENDING);
            usual.shutdown_background();
        };
        // Errors: no thread can be had any more, and with none nothing ends well.
        drop(thread::Builder::new().name("guest-end".to_owned()).spawn(end));
    }
}

/// None: it gave way, and is to be polled elsewhere.
fn poll_until_it_gives_way<T>(call: Pin<&mut impl Future<Output = T>>, context: &mut Context<'_>) -> Poll<Option<T>> {
    match (call.poll(context), GIVES_WAY.take()) {
        (Poll::Ready(value), _) => Poll::Ready(Some(value)),
        (Poll::Pending, true) => Poll::Ready(None),
        (Poll::Pending, false) => Poll::Pending,
    }
}

/// Elsewhere than on Linux it would be the whole process whose priority this sets.
fn step_back() {
    if cfg!(target_os = "linux")
        && let Err(error) = setpriority_process(None, NICENESS)
    {
        warn!(%error, "Threads for slow plugins have the priority of the others.");
    }
}

/// Waits for a task, and ends it when nobody waits any more.
async fn ended<T>(task: JoinHandle<T>) -> Result<T, JoinError> {
    let mut task = AbortOnDrop(task);
    (&mut task.0).await
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::current;

    use rustix::process::getpriority_process;
    use tokio::task::yield_now;

    use super::*;

    async fn where_it_runs() -> (String, i32) {
        yield_now().await;
        (current().name().unwrap_or_default().to_owned(), getpriority_process(None).unwrap())
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "as a library does that a call uses")]
    async fn a_call_that_gives_way_ends_on_a_slow_thread_and_no_other_does() {
        let lanes = Lanes::new(1).unwrap();
        let (name, usual) = lanes.run(where_it_runs()).await.unwrap();
        assert_eq!(name, "guest");

        let gave_way = async {
            give_way();
            where_it_runs().await
        };
        assert_eq!(lanes.run(gave_way).await.unwrap(), ("guest-slow".to_owned(), if cfg!(target_os = "linux") { NICENESS } else { usual }));
        assert_eq!(lanes.run(where_it_runs()).await.unwrap(), ("guest".to_owned(), usual));
        let spawns = async {
            give_way();
            yield_now().await;
            tokio::spawn(where_it_runs()).await.unwrap()
        };
        assert_eq!(lanes.run(spawns).await.unwrap(), ("guest".to_owned(), usual), "what outlives it is as quick as any");
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_ends_in_either_lane_and_a_panic_is_told() {
        struct Told(Arc<AtomicBool>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let lanes = Lanes::new(1).unwrap();
        for is_slow in [false, true] {
            let is_dropped = Arc::new(AtomicBool::new(false));
            let told = Told(Arc::clone(&is_dropped));
            let call = lanes.run(async move {
                let _told = told;
                if is_slow {
                    give_way();
                }
                loop {
                    yield_now().await;
                }
            });
            assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
            while !is_dropped.load(Ordering::Acquire) {
                yield_now().await;
            }
            let panics = async move {
                if is_slow {
                    give_way();
                }
                yield_now().await;
                panic!("it breaks");
            };
            assert!(lanes.run::<()>(panics).await.unwrap_err().is_panic());
        }
    }
}
