//! One plain thread per tree: the only owner of that tree's disk state.
//!
//! Asynchronous code sends closures over a bounded queue and awaits what they
//! return, so file I/O never blocks the network and a tree needs no lock.

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Closures waiting for one tree's thread. Senders wait beyond that.
const QUEUE_MAX: usize = 64;

enum Work<T> {
    Run(Box<dyn FnOnce(&mut T) + Send>),
    /// Drop the state and end; answered when that is done.
    Stop(oneshot::Sender<()>),
}

/// The tree's thread is gone: it panicked, or the node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the tree's thread has stopped")]
pub(crate) struct Stopped;

/// Sends work to a tree's thread. Cheap to clone; the thread ends when the last
/// clone is dropped.
pub(crate) struct TreeThread<T> {
    queue: mpsc::Sender<Work<T>>,
}

impl<T> Clone for TreeThread<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<T: 'static> TreeThread<T> {
    /// Starts a thread that makes its state with `open` and gives back either
    /// the handle or why `open` failed.
    pub(crate) async fn start<E: Send + 'static>(
        name: &str,
        open: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<Result<Self, E>, Stopped> {
        let (queue, mut work) = mpsc::channel::<Work<T>>(QUEUE_MAX);
        let (opened, was_opened) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("tree {name}"))
            .spawn(move || {
                let mut state = match open() {
                    Ok(state) => state,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                if opened.send(Ok(())).is_err() {
                    return;
                }
                let mut stopped = None;
                while let Some(work) = work.blocking_recv() {
                    match work {
                        Work::Run(work) => work(&mut state),
                        Work::Stop(answer) => {
                            stopped = Some(answer);
                            break;
                        }
                    }
                }
                // Whoever opens the tree next is its only owner.
                drop((state, work));
                if let Some(stopped) = stopped {
                    let _ = stopped.send(());
                }
            })
            .map_err(|_| Stopped)?;
        match was_opened.await.map_err(|_| Stopped)? {
            Ok(()) => Ok(Ok(Self { queue })),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Runs `work` on the thread and gives back what it returns. Dropping the
    /// future does not stop work that has begun.
    ///
    /// # Errors
    /// [`Stopped`] when the thread is gone.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, answered) = oneshot::channel();
        let boxed = Work::Run(Box::new(move |state: &mut T| {
            let _ = answer.send(work(state));
        }));
        self.queue.send(boxed).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Ends the thread after the work that was sent before, and waits until its
    /// state is dropped. Whoever asks it afterwards hears that it has stopped.
    pub(crate) async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Work::Stop(answer)).await.is_ok() {
            // A thread that panicked has dropped its state as well.
            let _ = answered.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_in_order_and_answers() {
        let thread = TreeThread::start("t", || Ok::<_, ()>(Vec::new()))
            .await
            .unwrap()
            .unwrap();
        for n in 0..3 {
            thread.run(move |list| list.push(n)).await.unwrap();
        }
        assert_eq!(thread.run(|list| list.clone()).await, Ok(vec![0, 1, 2]));
    }

    #[tokio::test]
    async fn a_panic_on_the_thread_is_an_error_to_the_caller() {
        let thread = TreeThread::start("t", || Ok::<_, ()>(()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(thread.run(|()| panic!("bug")).await, Err::<(), _>(Stopped));
        assert_eq!(thread.run(|()| ()).await, Err(Stopped));
    }

    #[tokio::test]
    async fn a_stopped_thread_has_dropped_its_state() {
        let state = std::sync::Arc::new(());
        let held = std::sync::Arc::clone(&state);
        let thread = TreeThread::start("t", || Ok::<_, ()>(held))
            .await
            .unwrap()
            .unwrap();
        let clone = thread.clone();
        thread.stop().await;
        assert_eq!(std::sync::Arc::strong_count(&state), 1);
        assert_eq!(clone.run(|_| ()).await, Err(Stopped));
        thread.stop().await;
    }

    #[tokio::test]
    async fn a_failed_open_is_given_back() {
        let opened = TreeThread::<()>::start("t", || Err("no such tree"))
            .await
            .unwrap();
        assert_eq!(opened.err(), Some("no such tree"));
    }
}
