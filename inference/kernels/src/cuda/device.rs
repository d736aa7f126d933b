//! A device: memory of its own, and kernels that compute there.
#![allow(unsafe_code)]

use std::fmt::Debug;

/// The kernels, for the driver to compile.
pub const PTX: &str = include_str!("../../cuda/kernels.ptx");

/// Why a device cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no such device, or no driver for it.
    #[error("no CUDA device: {0}")]
    Absent(String),
    /// Its memory is full.
    #[error("the device has no memory for {0} bytes more")]
    Memory(usize),
    /// A call of the driver failed. What is asked of the device from now on may fail as well.
    #[error("the device failed: {call}: {reason}")]
    Failed {
        /// The call.
        call: &'static str,
        /// What the driver says.
        reason: String,
    },
}

/// Names the kernels.
macro_rules! kernels {
    ($($name:ident = $symbol:literal,)*) => {
        /// A kernel; what each does stands in `cuda/kernels.cu`.
        #[allow(missing_docs, reason = "as its name there")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kernel { $($name,)* }

        impl Kernel {
            /// All, in one order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in the PTX.
            pub fn symbol(self) -> &'static str {
                match self { $(Self::$name => $symbol,)* }
            }
        }
    };
}

kernels! {
    Embed = "agora_embed",
    Gather = "agora_gather",
    Squares = "agora_squares",
    Norm = "agora_norm",
    Round = "agora_round",
    MultiplyOne = "agora_multiply_one",
    MultiplyFour = "agora_multiply_four",
    Add = "agora_add",
    Rotate = "agora_rotate",
    Remember = "agora_remember",
    Score = "agora_score",
    Peak = "agora_peak",
    Weigh = "agora_weigh",
    Mix = "agora_mix",
    Gate = "agora_gate",
    Shrink = "agora_shrink",
    Expand = "agora_expand",
}

/// A device. Callable from many threads; what is asked of it happens in the order of the calls. Launches may return before
/// they ran, reads and frees wait for what was asked before. Nobody retries.
pub trait Device: Debug + Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// The address of `size` new bytes, at least one, aligned for every number. What is in them is not said.
    ///
    /// # Errors
    /// [`DeviceError::Memory`], [`DeviceError::Failed`].
    fn allocate(&self, size: usize) -> Result<u64, DeviceError>;

    /// Gives memory back.
    ///
    /// # Safety
    /// `address` came from [`Device::allocate`] of this device, and nothing uses it from now on.
    unsafe fn free(&self, address: u64);

    /// Copies bytes to the device.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    ///
    /// # Safety
    /// The bytes from `address` on lie in memory of this device.
    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies bytes from the device, when all before is done.
    ///
    /// # Errors
    /// [`DeviceError::Failed`], also for what failed since the last read.
    ///
    /// # Safety
    /// As for [`Device::write`].
    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Runs a kernel `threads` times. Each argument lies in the first bytes of its word.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    ///
    /// # Safety
    /// The arguments are as many and as wide as the kernel has, and what it reads and writes by them is memory of this
    /// device that lives until it ran.
    unsafe fn launch(&self, kernel: Kernel, threads: u32, arguments: &[u64]) -> Result<(), DeviceError>;
}

/// Threads of one group; kernels leave by themselves where the last is not full.
pub(crate) const GROUP: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// The driver may fuse what does not say how it is rounded.
    #[test]
    fn nothing_in_the_ptx_is_fused_flushed_or_approximate() {
        let mut instructions = 0;
        for line in PTX.lines().filter(|line| !line.starts_with("//")) {
            let word = line.trim_start().trim_start_matches("@%p").split_whitespace().next().unwrap_or_default();
            let is = |name: &str| word.split('.').any(|part| part == name);
            if !is("f32") {
                assert!(!is("f64") && !is("f16"), "{line}");
                continue;
            }
            let moves = ["ld", "st", "mov", "setp", "selp", "neg", "param"].into_iter().any(is);
            let rounds = ["add", "sub", "mul", "div", "rcp", "sqrt", "cvt"].into_iter().any(is) && is("rn");
            assert!((moves || rounds || is("reg")) && !is("ftz") && !is("approx") && !is("sat"), "{line}");
            instructions += 1;
        }
        assert!(instructions > 500, "{instructions}");
        assert!(!PTX.contains("fma"), "fused");
    }

    /// After a change of the source: `cuda/build.sh`.
    #[test]
    fn the_ptx_is_of_this_source() {
        let source = include_bytes!("../../cuda/kernels.cu");
        // The checksum of POSIX' cksum: a CRC of the bytes and their count.
        let count = source.len().to_le_bytes();
        let end = count.iter().rposition(|byte| *byte > 0).map_or(0, |last| last + 1);
        let sum = source.iter().chain(&count[..end]).fold(0_u32, |sum, byte| {
            let bit = |sum: u32, _| if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 };
            (0..8).fold(sum ^ u32::from(*byte) << 24, bit)
        });
        let first = format!("// Of kernels.cu with the cksum {} {}.", !sum, source.len());
        assert_eq!(PTX.lines().next(), Some(first.as_str()));
    }

    #[test]
    fn the_ptx_has_every_kernel_and_no_other() {
        for kernel in Kernel::ALL {
            assert!(PTX.contains(&format!(".entry {}(", kernel.symbol())), "{kernel:?}");
        }
        assert_eq!(PTX.matches(".entry ").count(), Kernel::ALL.len());
    }
}
