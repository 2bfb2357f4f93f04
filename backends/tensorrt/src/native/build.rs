//! Turns a network into a serialized engine.

use crate::engine::{BuildOptions, Profile};
use crate::error::Error;
use crate::log::{LogLine, Severity};
use crate::native::convert;
use crate::native::handle::Owned;
use crate::native::network::{Network, pin};
use std::ffi::CString;
use std::time::Instant;
use trtx_sys::nvinfer1::{self, IBuilderConfig, IHostMemory, OptProfileSelector};

/// What came of a build.
pub(crate) struct Built {
    pub(crate) plan: Plan,
    pub(crate) listing: String,
    pub(crate) milliseconds: u64,
    pub(crate) warnings: Vec<LogLine>,
}

/// A serialized engine in memory of the library.
pub(crate) struct Plan(Owned<IHostMemory>);

impl Plan {
    /// Its bytes; none when the library gave none.
    pub(crate) fn bytes(&self) -> &[u8] {
        let (data, n_bytes) = (self.0.pin().data(), self.0.pin().size());
        if data.is_null() || n_bytes == 0 {
            return &[];
        }
        // The library keeps so many bytes there until `self` is dropped.
        unsafe { std::slice::from_raw_parts(data.cast::<u8>(), n_bytes) }
    }
}

pub(crate) fn build(network: &Network<'_>, options: &BuildOptions) -> Result<Built, Error> {
    let (builder, log) = (&network.builder.builder, network.builder.log());
    let failed = || Error::Build { log: log.take_lines() };
    let config = unsafe { Owned::new(builder.pin().createBuilderConfig()) }.ok_or_else(failed)?;
    configure(network, &config, options)?;
    let start = Instant::now();
    let plan = builder.pin().buildSerializedNetwork(network.network.pin(), config.pin());
    let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let plan = Plan(unsafe { Owned::new(plan) }.ok_or_else(failed)?);
    if plan.bytes().is_empty() {
        return Err(failed());
    }
    let warnings = log.take_lines().into_iter().filter(|line| line.severity == Severity::Warning).collect();
    Ok(Built { plan, listing: log.take_listing().unwrap_or_default(), milliseconds, warnings })
}

fn configure(network: &Network<'_>, config: &Owned<IBuilderConfig>, options: &BuildOptions) -> Result<(), Error> {
    let log = network.builder.log();
    let refused = |option: String| Error::Option { option, log: log.take_lines() };
    config.pin().setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
    if let Some(bytes) = options.workspace_bytes {
        let bytes = usize::try_from(bytes).map_err(|_| refused("workspace_bytes".into()))?;
        config.pin().setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, bytes);
    }
    if let Some(level) = options.optimization_level {
        config.pin().setBuilderOptimizationLevel(i32::from(level));
    }
    if options.tf32 {
        config.pin().setFlag(nvinfer1::BuilderFlag::kTF32);
    } else {
        config.pin().clearFlag(nvinfer1::BuilderFlag::kTF32);
    }
    set_targets(config, &options.targets).map_err(|target| Error::Target { target, log: log.take_lines() })?;
    for profile in &options.profiles {
        add_profile(network, config, profile).map_err(refused)?;
    }
    // Most setters return nothing and log what they refuse.
    if log.has_error() { Err(refused("of the build".into())) } else { Ok(()) }
}

#[cfg(not(feature = "tensorrt-enterprise"))]
fn set_targets(config: &Owned<IBuilderConfig>, targets: &[u16]) -> Result<(), String> {
    use nvinfer1::ComputeCapability;
    if targets.is_empty() {
        return Ok(());
    }
    let count = i32::try_from(targets.len()).unwrap_or(i32::MAX);
    if !config.pin().setNbComputeCapabilities(count) {
        return Err(format!("list of {count}"));
    }
    for (at, target) in (0..count).zip(targets) {
        let capability = match target {
            75 => ComputeCapability::kSM75,
            80 => ComputeCapability::kSM80,
            86 => ComputeCapability::kSM86,
            89 => ComputeCapability::kSM89,
            120 => ComputeCapability::kSM120,
            121 => ComputeCapability::kSM121,
            other => return Err(other.to_string()),
        };
        if !config.pin().setComputeCapability(capability, at) {
            return Err(target.to_string());
        }
    }
    Ok(())
}

/// The enterprise library builds for the GPU it runs on, and for no other.
#[cfg(feature = "tensorrt-enterprise")]
fn set_targets(_config: &Owned<IBuilderConfig>, targets: &[u16]) -> Result<(), String> {
    targets.first().map_or(Ok(()), |target| Err(target.to_string()))
}

fn add_profile(network: &Network<'_>, config: &Owned<IBuilderConfig>, profile: &Profile) -> Result<(), String> {
    let made = network.builder.builder.pin().createOptimizationProfile();
    // The builder owns its profiles.
    let mut made = unsafe { pin(made) }.ok_or("optimization profile")?;
    for range in &profile.inputs {
        let name = CString::new(range.input.as_str()).map_err(|_| "profile of a name with a NUL")?;
        use OptProfileSelector::{kMAX, kMIN, kOPT};
        for (selector, list) in [(kMIN, &range.min), (kOPT, &range.opt), (kMAX, &range.max)] {
            let count = i32::try_from(list.len()).map_err(|_| "profile without end")?;
            let accepted = if range.is_values {
                // The library copies the values.
                unsafe { made.as_mut().setShapeValuesV2(name.as_ptr(), selector, list.as_ptr(), count) }
            } else {
                list.len() <= crate::layer::MAX_RANK
                    && unsafe { made.as_mut().setDimensions(name.as_ptr(), selector, &convert::dims(list)) }
            };
            if !accepted {
                return Err(format!("profile of input `{}`: {list:?}", range.input));
            }
        }
    }
    let made = std::ptr::from_mut(unsafe { made.get_unchecked_mut() }).cast_const();
    if unsafe { config.pin().addOptimizationProfile(made) } < 0 {
        return Err("optimization profile: a range is not valid".into());
    }
    Ok(())
}
