//! Bounds of the values in a recipe.

use dyconv_data::{Augment, Crop, PoseAugment};

use super::errors::{RecipeError, fail, fail_at};
use super::{AugmentRecipe, Recipe};

impl Recipe {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let t = &self.train;
        let bounds: [(&str, f64, f64, f64); 23] = [
            ("train.epochs", t.epochs as f64, 1.0, 1e6),
            ("train.batch", t.batch as f64, 1.0, 65_536.0),
            ("train.accumulate", t.accumulate as f64, 1.0, t.batch as f64),
            ("train.lr", t.lr, 0.0, 1e3),
            ("train.warmup_epochs", t.warmup_epochs, 0.0, 1e6),
            ("train.gamma", t.gamma, 0.0, 1.0),
            ("train.momentum", t.momentum, 0.0, 0.9999),
            ("train.betas", t.betas[0], 0.0, 0.999_999),
            ("train.betas", t.betas[1], 0.0, 0.999_999),
            ("train.alpha", t.alpha, 0.0, 0.999_999),
            ("train.eps", t.eps, 1e-16, 1.0),
            ("train.weight_decay", t.weight_decay, 0.0, 1.0),
            ("train.clip_norm", t.clip_norm, 0.0, 1e9),
            ("train.ema", t.ema, 0.0, 0.999_999),
            ("train.label_smoothing", t.label_smoothing, 0.0, 0.99),
            ("train.checkpoint_minutes", t.checkpoint_minutes, 0.0, 1e6),
            ("train.log_steps", t.log_steps as f64, 1.0, 1e9),
            ("temperature.start", f64::from(self.temperature.start), 1e-3, 1e6),
            ("temperature.end", f64::from(self.temperature.end), 1e-3, 1e6),
            ("temperature.epochs", self.temperature.epochs, 0.0, 1e6),
            ("data.heatmap_sigma", self.data.heatmap_sigma, 0.1, 100.0),
            ("data.max_megapixels", self.data.max_megapixels, 0.001, 10_000.0),
            ("data.val_fraction", f64::from(self.data.val_fraction), 0.0, 0.9),
        ];
        for (key, value, low, high) in bounds {
            if !(low..=high).contains(&value) {
                return fail_at(key, format!("`{key}` must lie in {low}..={high}, got {value}"));
            }
        }
        if !t.milestones.is_sorted_by(|a, b| a < b) || t.milestones.iter().any(|m| !(*m > 0.0 && m.is_finite())) {
            return fail_at(
                "train.milestones",
                format!("`train.milestones` are epochs in rising order, got {:?}", t.milestones),
            );
        }
        if let Some((class, weight)) = t.class_weights.iter().find(|(_, w)| !(1e-6..=1e6).contains(*w)) {
            return fail_at(
                "train.class_weights",
                format!("`train.class_weights` must lie in 0.000001..=1000000, got {weight} for `{class}`"),
            );
        }
        if let Some(channels) = self.data.channels.filter(|c| ![1, 3].contains(c)) {
            return fail_at("data.channels", format!("`data.channels` must be 1 or 3, got {channels}"));
        }
        if let Some(share) = self.data.crop_pct.filter(|share| !(0.1..=1.0).contains(share)) {
            return fail_at("data.crop_pct", format!("`data.crop_pct` must lie in 0.1..=1, got {share}"));
        }
        let a = &self.augment;
        let ordered = |[low, high]: [f32; 2]| 0.0 < low && low <= high && high.is_finite();
        if !ordered(a.crop_scale) || a.crop_scale[1] > 1.0 {
            return fail_at(
                "augment.crop_scale",
                format!("`augment.crop_scale` needs 0 < low <= high <= 1, got {:?}", a.crop_scale),
            );
        }
        if !ordered(a.crop_ratio) {
            return fail_at(
                "augment.crop_ratio",
                format!("`augment.crop_ratio` needs 0 < low <= high, got {:?}", a.crop_ratio),
            );
        }
        let both = a.augment().validate().and_then(|()| a.pose().validate());
        both.or_else(|e| {
            // The message begins with the key.
            let message = e.to_string();
            fail_at(message.split(':').next().unwrap_or_default(), message.as_str())
        })
    }

    /// Checks that no key is set that does not apply to the data, persons with joints or images with classes.
    pub(crate) fn check_use(&self, joints: bool) -> Result<(), RecipeError> {
        let usual = Self::resolve(None, None, &[])?;
        let (a, b) = (&self.augment, &usual.augment);
        let (t, u) = (&self.train, &usual.train);
        let cropped = a.crop_scale != [1.0, 1.0] && (a.crop_scale, a.crop_ratio) != (b.crop_scale, b.crop_ratio);
        let of_classes = [
            ("data.interpolation", self.data.interpolation != usual.data.interpolation),
            ("data.crop", self.data.crop != usual.data.crop),
            ("augment.crop_scale", cropped),
            ("augment.shift", a.shift != b.shift),
            ("augment.rand_augment", a.rand_augment.is_some()),
            ("augment.mixup", a.mixup != b.mixup),
            ("augment.cutmix", a.cutmix != b.cutmix),
            ("train.label_smoothing", t.label_smoothing != u.label_smoothing),
            ("train.class_weights", !t.class_weights.is_empty()),
        ];
        let of_joints = [
            ("augment.rotate", a.rotate != b.rotate),
            ("augment.scale", a.scale != b.scale),
            ("augment.half_body", a.half_body != b.half_body),
            ("model.head_width", self.model.options.head_width != usual.model.options.head_width),
            ("data.skeleton", self.data.skeleton.is_some()),
            ("data.heatmap_sigma", self.data.heatmap_sigma != usual.data.heatmap_sigma),
        ];
        let (other, what) = match joints {
            true => (&of_classes[..], "images with classes, and these data hold persons with joints"),
            false => (&of_joints[..], "persons with joints, and these data hold images with classes"),
        };
        match other.iter().find(|(_, asked)| *asked) {
            Some((key, _)) => fail(format!("`{key}` is for {what}")),
            None => Ok(()),
        }
    }
}

impl AugmentRecipe {
    /// The settings as the loader of persons takes them.
    pub(crate) fn pose(&self) -> PoseAugment {
        PoseAugment {
            half_body: self.half_body,
            scale: self.scale,
            rotate: self.rotate,
            flip: self.flip,
            color_jitter: self.color_jitter,
            random_erasing: self.random_erasing,
        }
    }

    /// The settings as the loader of images takes them.
    pub(crate) fn augment(&self) -> Augment {
        let crop = Crop { scale: self.crop_scale, ratio: self.crop_ratio };
        Augment {
            random_resized_crop: (self.crop_scale != [1.0, 1.0]).then_some(crop),
            flip: self.flip,
            shift: self.shift,
            rand_augment: self.rand_augment,
            color_jitter: self.color_jitter,
            random_erasing: self.random_erasing,
            mixup: self.mixup,
            cutmix: self.cutmix,
        }
    }
}
