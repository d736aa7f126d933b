//! Threads that share the tasks of one call at a time, and stay between calls.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::marker::PhantomData;
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

/// A calling thread and its helpers.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// `threads` in all, the caller included.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
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
            let builder = std::thread::Builder::new().name("openlora-kernel".to_owned());
            pool.helpers.push(builder.spawn(move || help(&shared))?);
        }
        Ok(pool)
    }

    /// Threads in all.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `work(0)` to `work(tasks - 1)`, in any order, and returns when all are done.
    pub(crate) fn run(&mut self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
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
        assert!(!shared.failed.load(Ordering::Relaxed), "no task of a kernel panics");
    }

    /// Calls `work(at, chunk)` for each chunk of `size` numbers.
    pub(crate) fn chunks(&mut self, numbers: &mut [f32], size: usize, work: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let count = numbers.len() / size;
        let columns = Columns::new(numbers, size);
        self.run(count, &|at| {
            // SAFETY: each task has its own row.
            work(at, unsafe { columns.row(at) });
        });
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
pub(super) struct Columns<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    _numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write disjoint places: `multiply` gives each tile to one task, `chunks` each row.
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// Over `numbers`, in rows of `width`.
    pub(super) fn new(numbers: &'a mut [f32], width: usize) -> Self {
        assert!(width > 0 && numbers.len().is_multiple_of(width), "an output has whole rows");
        Self { start: numbers.as_mut_ptr(), rows: numbers.len() / width, width, _numbers: PhantomData }
    }

    /// A whole row.
    ///
    /// # Safety
    /// No other task touches this row meanwhile.
    #[allow(clippy::mut_from_ref, reason = "the rows are disjoint, as the caller promises")]
    unsafe fn row(&self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "a task writes inside its output");
        // SAFETY: inside, as just checked; alone, as promised.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.width), self.width) }
    }

    /// Writes `values` into a row from `column` on.
    pub(super) fn write(&self, row: usize, column: usize, values: &[f32]) {
        assert!(row < self.rows && column + values.len() <= self.width, "a task writes inside its output");
        // SAFETY: inside, as just checked; no other task writes there, see above.
        unsafe { self.start.add(row * self.width + column).copy_from_nonoverlapping(values.as_ptr(), values.len()) };
    }
}
