//! The devices to train on: the CPU with our own operations, or GPUs through Burn.

use burn::tensor::Device;

use crate::error::TrainError;

/// A kind of device. [`devices`] refuses the kinds whose feature is not compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The CPU of this machine.
    #[default]
    Cpu,
    /// NVIDIA GPUs (feature `cuda`).
    Cuda,
    /// The first GPU listed by Vulkan, Metal, DirectX or WebGPU (feature `wgpu`).
    Wgpu,
}

/// The devices of a kind that share each batch. `numbers` select among several CUDA devices; empty means the first.
///
/// # Errors
/// If this build lacks the feature, or the numbers do not fit the kind.
pub fn devices(kind: DeviceKind, numbers: &[usize]) -> Result<Vec<Device>, TrainError> {
    if kind != DeviceKind::Cuda && !numbers.is_empty() {
        return Err(TrainError::DeviceNumbers);
    }
    if let Some(twice) = numbers.iter().enumerate().find(|(i, n)| numbers[..*i].contains(n)) {
        return Err(TrainError::World(format!("device {} is named twice", twice.1)));
    }
    match kind {
        DeviceKind::Cpu => Ok(vec![Device::flex()]),
        DeviceKind::Cuda => cuda(if numbers.is_empty() { &[0] } else { numbers }),
        DeviceKind::Wgpu => wgpu(),
    }
}

#[cfg(feature = "cuda")]
fn cuda(numbers: &[usize]) -> Result<Vec<Device>, TrainError> {
    Ok(numbers.iter().map(|number| Device::cuda(*number)).collect())
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &[usize]) -> Result<Vec<Device>, TrainError> {
    Err(lacking("cuda"))
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Vec<Device>, TrainError> {
    Ok(vec![Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)])
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Vec<Device>, TrainError> {
    Err(lacking("wgpu"))
}

#[cfg(not(all(feature = "cuda", feature = "wgpu")))]
fn lacking(feature: &'static str) -> TrainError {
    TrainError::NotBuilt(feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_choose_among_cuda_devices_only() {
        assert_eq!(devices(DeviceKind::Cpu, &[]).unwrap(), [Device::flex()]);
        let says = |kind, numbers: &[usize]| devices(kind, numbers).unwrap_err().to_string();
        assert!(says(DeviceKind::Cpu, &[0]).contains("choose among CUDA devices"));
        assert!(says(DeviceKind::Cuda, &[1, 0, 1]).contains("device 1 is named twice"));
    }

    #[cfg(not(any(feature = "cuda", feature = "wgpu")))]
    #[test]
    fn what_is_not_built_in_is_an_error() {
        let says = |kind| devices(kind, &[]).unwrap_err().to_string();
        assert!(says(DeviceKind::Cuda).contains("built without cuda"));
        assert!(says(DeviceKind::Wgpu).contains("built without wgpu"));
    }
}
