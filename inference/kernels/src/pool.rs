//! Threads that share the tasks of one call at a time, and stay between calls.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A waiting thread looks this often before it sleeps: hand-offs inside a layer are much shorter than a wake-up.
const LOOKS: u32 = 4_000;

type Work = *const (dyn Fn(usize) + Sync);

struct Shared {
    /// Bit 0: a call is open. Bits 1 to 16: helpers inside. The rest counts calls.
    state: AtomicUsize,
    work: UnsafeCell<Option<Work>>,
    tasks: AtomicUsize,
    next: AtomicUsize,
    failed: AtomicBool,
    asleep: Mutex<Sleep>,
    wake: Condvar,
}

#[derive(Default)]
struct Sleep {
    sleepers: usize,
    ended: bool,
}

const OPEN: usize = 1;
const INSIDE: usize = 2;
const INSIDE_MASK: usize = 0x1FFFE;
const CALL: usize = 0x20000;

// SAFETY: `work` is written only while the call is closed and nobody is inside, and read only from inside.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointee is `Sync`.
unsafe impl Send for Shared {}

/// A calling thread and its helpers, which stay between calls.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// `threads` in all, the caller included.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            tasks: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            asleep: Mutex::default(),
            wake: Condvar::new(),
        });
        let mut pool = Self { shared, helpers: Vec::new() };
        for _ in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name("agora-kernels".to_owned());
            pool.helpers.push(builder.spawn(move || help(&shared))?);
        }
        Ok(pool)
    }

    /// Threads in all.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `work(0)` to `work(tasks - 1)`, in any order, and returns when all are done.
    ///
    /// # Panics
    /// If a task panics.
    pub fn run(&mut self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() || tasks < 2 {
            (0..tasks).for_each(work);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime is forgotten; `close` runs before this function is left, and waits for all readers.
        let forgotten = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Work>(work) };
        // SAFETY: the call is closed and `&mut self` excludes other callers.
        unsafe { *shared.work.get() = Some(forgotten) };
        shared.tasks.store(tasks, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        // Wraps after as many calls as a thread could not sleep through.
        let call = (shared.state.load(Ordering::Relaxed) & !(INSIDE_MASK | OPEN)).wrapping_add(CALL);
        shared.state.store(call | OPEN, Ordering::SeqCst);
        let close = Close(shared);
        if shared.asleep.lock().unwrap_or_else(PoisonError::into_inner).sleepers > 0 {
            shared.wake.notify_all();
        }
        share(shared, work);
        drop(close);
        assert!(!shared.failed.swap(false, Ordering::Relaxed), "no task of a kernel panics");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper's panic was caught and told to the caller.
            let _ = helper.join();
        }
    }
}

/// Closes the call and waits until nobody is inside, also when the caller's own task panics.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, Ordering::SeqCst);
        let mut looks = 0_u32;
        while self.0.state.load(Ordering::Acquire) & INSIDE_MASK != 0 {
            looks = looks.wrapping_add(1);
            // On a shared core the other one may need ours to finish.
            if looks.is_multiple_of(1_024) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

/// Takes tasks until there are none.
fn share(shared: &Shared, work: &(dyn Fn(usize) + Sync)) {
    let tasks = shared.tasks.load(Ordering::Relaxed);
    loop {
        let task = shared.next.fetch_add(1, Ordering::Relaxed);
        if task >= tasks {
            return;
        }
        work(task);
    }
}

/// A helper's life.
fn help(shared: &Shared) {
    let mut seen = 0;
    loop {
        let Some(call) = wait(shared, seen) else { return };
        seen = call;
        if !enter(shared, call) {
            continue;
        }
        // SAFETY: inside an open call, `work` is set and its pointee lives until `leave`.
        let work = unsafe { (*shared.work.get()).map(|work| &*work) };
        if let Some(work) = work
            && catch_unwind(AssertUnwindSafe(|| share(shared, work))).is_err()
        {
            shared.failed.store(true, Ordering::Relaxed);
        }
        shared.state.fetch_sub(INSIDE, Ordering::Release);
    }
}

/// Waits for an open call other than `seen`; `None` at the end.
fn wait(shared: &Shared, seen: usize) -> Option<usize> {
    let ready = || {
        let state = shared.state.load(Ordering::SeqCst);
        let call = state & !(INSIDE_MASK | OPEN);
        (state & OPEN != 0 && call != seen).then_some(call)
    };
    for _ in 0..LOOKS {
        if let Some(call) = ready() {
            return Some(call);
        }
        std::hint::spin_loop();
    }
    let mut sleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if sleep.ended {
            return None;
        }
        if let Some(call) = ready() {
            return Some(call);
        }
        sleep.sleepers += 1;
        sleep = shared.wake.wait(sleep).unwrap_or_else(PoisonError::into_inner);
        sleep.sleepers -= 1;
    }
}

/// Steps inside, unless the call has closed meanwhile.
fn enter(shared: &Shared, call: usize) -> bool {
    let mut state = shared.state.load(Ordering::SeqCst);
    loop {
        if state & OPEN == 0 || state & !(INSIDE_MASK | OPEN) != call {
            return false;
        }
        match shared.state.compare_exchange_weak(state, state + INSIDE, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return true,
            Err(now) => state = now,
        }
    }
}

/// A row-major output of which each task writes its own columns.
pub(crate) struct Columns<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    _numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write disjoint places: `multiply` gives each tile to one task.
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// Over `numbers`, in rows of `width`.
    pub(crate) fn new(numbers: &'a mut [f32], width: usize) -> Self {
        assert!(width > 0 && numbers.len().is_multiple_of(width), "an output has whole rows");
        Self { start: numbers.as_mut_ptr(), rows: numbers.len() / width, width, _numbers: PhantomData }
    }

    /// Writes `values` into a row from `column` on.
    pub(crate) fn write(&self, row: usize, column: usize, values: &[f32]) {
        assert!(row < self.rows && column + values.len() <= self.width, "a task writes inside its output");
        // SAFETY: inside, as just checked; no other task writes there, see above.
        unsafe { self.start.add(row * self.width + column).copy_from_nonoverlapping(values.as_ptr(), values.len()) };
    }
}

/// A buffer in rows of one width, which are handed out to tasks, each at most once.
#[derive(Debug)]
pub struct Split<'a, T> {
    start: *mut T,
    width: usize,
    taken: Box<[AtomicBool]>,
    _buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: `take` gives each row to one caller only, so no two threads ever reach the same numbers.
unsafe impl<T: Send> Sync for Split<'_, T> {}

impl<'a, T> Split<'a, T> {
    /// Over `buffer`, in rows of `width`.
    ///
    /// # Panics
    /// If the rows are not whole.
    pub fn new(buffer: &'a mut [T], width: usize) -> Self {
        assert!(width > 0 && buffer.len().is_multiple_of(width), "a buffer has whole rows");
        let taken = (0..buffer.len() / width).map(|_| AtomicBool::new(false)).collect();
        Self { start: buffer.as_mut_ptr(), width, taken, _buffer: PhantomData }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.taken.len()
    }

    /// A row, for the one task that has it.
    ///
    /// # Panics
    /// If the row was taken before, or does not exist.
    pub fn take(&self, row: usize) -> &'a mut [T] {
        self.take_all(row..row + 1)
    }

    /// Neighbouring rows, one after another, for the one task that has them.
    ///
    /// # Panics
    /// If a row was taken before, or does not exist.
    #[allow(clippy::mut_from_ref, reason = "each row is given out once")]
    pub fn take_all(&self, rows: Range<usize>) -> &'a mut [T] {
        let marks = &self.taken[rows.clone()];
        assert!(marks.iter().all(|taken| !taken.swap(true, Ordering::Relaxed)), "a row is taken once");
        // SAFETY: inside, since the rows have marks; given out once, as just checked; the buffer is borrowed for 'a.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(rows.start * self.width), rows.len() * self.width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_all_are_done_when_the_call_returns() {
        for threads in [1, 2, 5] {
            let mut pool = Pool::new(threads).unwrap();
            for tasks in [0, 1, 2, 3, 64, 1_000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_pool_that_slept_wakes_for_the_next_call() {
        let mut pool = Pool::new(3).unwrap();
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.run(100, &|task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 4_950);
        }
    }

    #[test]
    fn a_row_is_given_out_once() {
        let mut buffer = [0_u8; 12];
        let split = Split::new(&mut buffer, 3);
        assert_eq!(split.rows(), 4);
        split.take_all(1..3).fill(7);
        let again = |row: usize| catch_unwind(AssertUnwindSafe(|| split.take(row).len()));
        assert!(again(2).is_err() && again(4).is_err());
        assert_eq!(again(3).unwrap(), 3);
        assert_eq!(buffer, [0, 0, 0, 7, 7, 7, 7, 7, 7, 0, 0, 0]);
    }

    #[test]
    fn a_task_that_panics_is_told_to_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new(2).unwrap();
        let failed = catch_unwind(AssertUnwindSafe(|| pool.run(50, &|task| assert_ne!(task, 30))));
        assert!(failed.is_err());
        let count = AtomicUsize::new(0);
        pool.run(50, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 50);
    }
}
