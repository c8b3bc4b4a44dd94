//! Activations after a batch norm and their derivatives, as types for which loops are monomorphized.

/// The activation after a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormActivation {
    /// z
    None,
    /// max(z, 0)
    Relu,
    /// min(max(z, 0), 6)
    Relu6,
    /// z · min(max(z + 3, 0), 6) / 6
    HardSwish,
}

/// An activation known at compile time.
pub(super) trait Act: Copy {
    /// act(z)
    fn apply(self, z: f32) -> f32;
    /// act'(z)·g
    fn derive(self, z: f32, g: f32) -> f32;
}

#[derive(Clone, Copy)]
pub(super) struct Plain;
#[derive(Clone, Copy)]
pub(super) struct Relu;
#[derive(Clone, Copy)]
pub(super) struct Relu6;
#[derive(Clone, Copy)]
pub(super) struct HardSwish;

impl Act for Plain {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        z
    }
    #[inline(always)]
    fn derive(self, _: f32, g: f32) -> f32 {
        g
    }
}

impl Act for Relu {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        if z < 0.0 { 0.0 } else { z }
    }
    #[inline(always)]
    fn derive(self, z: f32, g: f32) -> f32 {
        if z > 0.0 { g } else { 0.0 }
    }
}

impl Act for Relu6 {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        clamp6(z)
    }
    #[inline(always)]
    fn derive(self, z: f32, g: f32) -> f32 {
        if (z > 0.0) & (z < 6.0) { g } else { 0.0 }
    }
}

impl Act for HardSwish {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        z * clamp6(z + 3.0) * (1.0 / 6.0)
    }
    #[inline(always)]
    fn derive(self, z: f32, g: f32) -> f32 {
        let slope = if z < 3.0 { z * (1.0 / 3.0) + 0.5 } else { 1.0 };
        if z > -3.0 { slope * g } else { 0.0 }
    }
}

/// min(max(z, 0), 6), written with comparisons that vectorize; NaN stays NaN.
#[inline(always)]
fn clamp6(z: f32) -> f32 {
    let z = if z < 0.0 { 0.0 } else { z };
    if z > 6.0 { 6.0 } else { z }
}

/// Calls `$run` with the activation as a type.
macro_rules! with_act {
    ($activation:expr, $act:ident => $run:expr) => {
        match $activation {
            $crate::NormActivation::None => {
                let $act = $crate::activation::Plain;
                $run
            }
            $crate::NormActivation::Relu => {
                let $act = $crate::activation::Relu;
                $run
            }
            $crate::NormActivation::Relu6 => {
                let $act = $crate::activation::Relu6;
                $run
            }
            $crate::NormActivation::HardSwish => {
                let $act = $crate::activation::HardSwish;
                $run
            }
        }
    };
}
pub(super) use with_act;
