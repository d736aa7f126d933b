//! Which vector instructions are used.

use crate::lanes::Portable;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};

/// Vector instructions, chosen at run time; the results are the same bits with all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simd(pub(crate) Kind);

/// Each holds the proof that the processor has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Simd {
    /// None: plain Rust, on any processor.
    pub const PORTABLE: Self = Self(Kind::Portable(Portable));

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::all().pop().unwrap_or(Self::PORTABLE)
    }

    /// All that this processor has, the best last.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::detect().map(|proof| Self(Kind::Avx2(proof))));
            all.extend(Avx512::detect().map(|proof| Self(Kind::Avx512(proof))));
        }
        all
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "AVX-512 VNNI",
        }
    }
}

/// Compiles one body once per kind of vector instructions. The body is a function whose first argument is the kind.
macro_rules! each_simd {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident / $body:ident
        $(<const $n:ident: $t:ty>)? ($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;)*) => {$(
        $(#[$meta])*
        #[allow(unsafe_code, reason = "the proof of the kind is what makes the call sound")]
        $visibility fn $name $(<const $n: $t>)? (simd: $crate::Simd, $($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c,fma")]
            fn avx2 $(<const $n: $t>)? (proof: $crate::lanes::Avx2, $($argument: $kind),*) $(-> $result)? {
                $body(proof, $($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c,fma,avx512f,avx512bw,avx512vl,avx512vnni")]
            fn avx512 $(<const $n: $t>)? (proof: $crate::lanes::Avx512, $($argument: $kind),*) $(-> $result)? {
                $body(proof, $($argument),*)
            }
            match simd.0 {
                $crate::simd::Kind::Portable(lanes) => $body(lanes, $($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the proof is made only where the processor has these instructions.
                $crate::simd::Kind::Avx2(proof) => unsafe { avx2 $(::<$n>)? (proof, $($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::simd::Kind::Avx512(proof) => unsafe { avx512 $(::<$n>)? (proof, $($argument),*) },
            }
        }
    )*};
}
pub(crate) use each_simd;
