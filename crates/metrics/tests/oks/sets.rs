//! The random sets of `generate.py`, reproduced bit by bit.

use dyconv_metrics::{Detection, GroundTruth};

const COCO_SIGMAS: [f64; 17] = [
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
];

/// Sigmas, persons and detections.
pub struct Set {
    pub sigmas: Vec<f64>,
    pub persons: Vec<GroundTruth>,
    pub detections: Vec<Detection>,
}

struct Lcg(u64);

impl Lcg {
    /// Uniform in 0..1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// Mean 0, variance 1/3.
    fn bell(&mut self) -> f64 {
        self.unit() + self.unit() + self.unit() + self.unit() - 2.0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    fn person(&mut self, image: u64, joints: usize, tame: bool) -> GroundTruth {
        let side = [20.0, 48.0, 96.0, 200.0][self.below(4)] * self.between(0.6, 1.5);
        let bbox = [self.between(-20.0, 500.0), self.between(-20.0, 400.0), side * self.between(0.4, 1.0), side];
        let mut area = bbox[2] * bbox[3] * self.between(0.4, 0.9);
        if self.chance(0.1) {
            area = [1024.0, 9216.0, 0.0, 1e-9][self.below(4)];
        }
        let bare = self.chance(0.1);
        let joints: Vec<_> = (0..joints)
            .map(|_| {
                let seen = if bare { 0 } else { self.below(3) };
                let [x, y] = [bbox[0] + bbox[2] * self.unit(), bbox[1] + bbox[3] * self.unit()];
                (seen > 0).then_some([x, y])
            })
            .collect();
        let mut count = joints.iter().flatten().count();
        if !tame && self.chance(0.05) {
            count = if self.chance(0.5) { 0 } else { 1 };
        }
        GroundTruth { image, joints, area, bbox, crowd: self.chance(0.1), ignore: count == 0 }
    }

    fn near(&mut self, p: &GroundTruth, sigmas: &[f64], score: f64) -> Detection {
        let scale = p.bbox[3] * [0.0, 0.5, 1.0, 2.0, 4.0, 8.0][self.below(6)];
        let pairs = p.joints.iter().zip(sigmas);
        let joints = pairs.map(|(joint, sigma)| {
            let [x, y] =
                joint.unwrap_or_else(|| [p.bbox[0] + p.bbox[2] * self.unit(), p.bbox[1] + p.bbox[3] * self.unit()]);
            [x + scale * sigma * self.bell(), y + scale * sigma * self.bell()]
        });
        Detection { image: p.image, joints: joints.collect(), score }
    }

    fn stray(&mut self, image: u64, joints: usize, score: f64) -> Detection {
        let side = [8.0, 60.0, 300.0][self.below(3)];
        let [left, top] = [self.between(0.0, 500.0), self.between(0.0, 400.0)];
        let joints = (0..joints).map(|_| [left + side * self.unit(), top + side * self.unit()]).collect();
        Detection { image, joints, score }
    }
}

/// A set; with `images`, a large and regular one for timing.
pub fn make(seed: u64, images: Option<usize>) -> Set {
    let mut rng = Lcg(seed);
    let tame = images.is_some();
    let sigmas = if tame || rng.chance(0.5) {
        COCO_SIGMAS.to_vec()
    } else {
        (0..[1, 4, 9, 21, 68][rng.below(5)]).map(|_| rng.between(0.02, 0.15)).collect()
    };
    let ties = !tame && rng.chance(0.4);
    let crowded = !tame && rng.chance(0.2);
    let score = |rng: &mut Lcg| if ties { rng.below(6) as f64 / 8.0 } else { rng.unit() };
    let images = images.unwrap_or_else(|| rng.below(12) + 1);
    let mut ids: Vec<u64> = (0..images as u64).map(|i| 3 * i + 7).collect();
    rng.shuffle(&mut ids);
    let (mut persons, mut detections) = (Vec::new(), Vec::new());
    for image in ids {
        let count = if tame { 2 } else { [0, 1, 2, 3, 5, 9][rng.below(6)] };
        let mut here: Vec<GroundTruth> = (0..count).map(|_| rng.person(image, sigmas.len(), tame)).collect();
        if !here.is_empty() && !tame && rng.chance(0.1) {
            here.push(here[0].clone());
        }
        for p in &here {
            let copies = if tame { 3 } else { [0, 1, 1, 2, 3][rng.below(5)] };
            for _ in 0..copies {
                let score = score(&mut rng);
                detections.push(rng.near(p, &sigmas, score));
            }
        }
        let strays = if tame { 2 } else { [0, 0, 1, 3][rng.below(4)] + if crowded { 25 } else { 0 } };
        for _ in 0..strays {
            let score = score(&mut rng);
            detections.push(rng.stray(image, sigmas.len(), score));
        }
        persons.append(&mut here);
    }
    rng.shuffle(&mut persons);
    rng.shuffle(&mut detections);
    Set { sigmas, persons, detections }
}
