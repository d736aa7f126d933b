//! A real device, by CUDA's driver.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUfunction, CUmodule, CUresult};

use super::device::{Device, DeviceError, GROUP, Kernel, PTX};

/// A device with CUDA.
#[derive(Debug)]
pub struct Cuda {
    name: String,
    device: CUdevice,
    context: CUcontext,
    module: CUmodule,
    /// In the order of [`Kernel::ALL`].
    functions: Vec<CUfunction>,
}

// SAFETY: the driver's handles may be used from any thread that has made their context its current one.
unsafe impl Send for Cuda {}
// SAFETY: as above; nothing here changes.
unsafe impl Sync for Cuda {}

impl Cuda {
    /// Opens a device by its number, and has the driver compile the kernels for it.
    ///
    /// # Errors
    /// [`DeviceError::Absent`] without a driver or such a device, [`DeviceError::Failed`].
    pub fn open(number: usize) -> Result<Self, DeviceError> {
        let absent = |error: DriverError| DeviceError::Absent(format!("number {number}: {}", reason(error)));
        // SAFETY: looks whether the library can be opened. Everything below panics where it cannot.
        if !unsafe { sys::is_culib_present() } {
            return Err(DeviceError::Absent("NVIDIA's driver (libcuda) is not installed".to_owned()));
        }
        result::init().map_err(absent)?;
        let ordinal = c_int::try_from(number).map_err(|_| DeviceError::Absent(format!("number {number}")))?;
        let device = result::device::get(ordinal).map_err(absent)?;
        let name = result::device::get_name(device).map_err(absent)?;
        // SAFETY: the driver gave this device. Released when `Cuda` is dropped, also where a step below fails.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed("cuDevicePrimaryCtxRetain"))?;
        let mut cuda = Self { name, device, context, module: std::ptr::null_mut(), functions: Vec::new() };
        cuda.enter()?;
        let text = CString::new(PTX).expect("PTX has no zero byte");
        // SAFETY: PTX text that ends with a zero byte, as the driver wants it.
        cuda.module = unsafe { result::module::load_data(text.as_ptr().cast()) }.map_err(failed("cuModuleLoadData"))?;
        for kernel in Kernel::ALL {
            let symbol = CString::new(kernel.symbol()).expect("a name has no zero byte");
            // SAFETY: the module was loaded just now.
            let function = unsafe { result::module::get_function(cuda.module, symbol) };
            cuda.functions.push(function.map_err(failed("cuModuleGetFunction"))?);
        }
        Ok(cuda)
    }

    /// Makes its context that of this thread.
    fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: retained until `Cuda` is dropped.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("cuCtxSetCurrent"))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // What fails here fails because the driver is gone, and its memory with it.
        let _ = self.enter();
        if !self.module.is_null() {
            // SAFETY: loaded by `open`; nobody can launch its functions any more.
            let _ = unsafe { result::module::unload(self.module) };
        }
        // SAFETY: retained once, by `open`.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

impl Device for Cuda {
    fn name(&self) -> &str {
        &self.name
    }

    fn allocate(&self, size: usize) -> Result<u64, DeviceError> {
        self.enter()?;
        // SAFETY: nothing but the context is needed; at least one byte.
        let address = unsafe { result::malloc_sync(size.max(1)) };
        address.map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => DeviceError::Memory(size),
            _ => failed("cuMemAlloc")(error),
        })
    }

    unsafe fn free(&self, address: u64) {
        let _ = self.enter();
        // SAFETY: the caller's promise. It waits for the launches before; where it fails, the context is lost as a whole.
        let _ = unsafe { result::free_sync(address) };
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the caller's promise. On the default stream, so behind the launches before.
        unsafe { result::memcpy_htod_sync(address, bytes) }.map_err(failed("cuMemcpyHtoD"))
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the caller's promise; waits for the launches before.
        unsafe { result::memcpy_dtoh_sync(bytes, address) }.map_err(failed("cuMemcpyDtoH"))
    }

    unsafe fn launch(&self, kernel: Kernel, threads: u32, arguments: &[u64]) -> Result<(), DeviceError> {
        self.enter()?;
        let mut places: Vec<*mut c_void> =
            arguments.iter().map(|word| std::ptr::from_ref(word).cast_mut().cast()).collect();
        let (groups, group) = ((threads.div_ceil(GROUP), 1, 1), (GROUP, 1, 1));
        let (function, stream) = (self.functions[kernel as usize], result::stream::null());
        // SAFETY: the caller's promise; the driver copies the arguments before it returns.
        unsafe { result::launch_kernel(function, groups, group, 0, stream, &mut places) }
            .map_err(failed("cuLaunchKernel"))
    }
}

fn failed(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Failed { call, reason: reason(error) }
}

/// What the driver says of an error.
fn reason(error: DriverError) -> String {
    let text = error.error_string().or_else(|_| error.error_name());
    text.map_or_else(|_| "no reason is given".to_owned(), |text| text.to_string_lossy().into_owned())
}
