//! A body in space: the lengths of its parts, its pose, and the positions of its joints.
//!
//! Angles are drawn within the limits of human joints. Lengths are fractions of the height of an upright adult.

use rand::Rng;

use crate::random::Random;
use crate::space::{Frame, Vector, along, cross, dot, turned, unit_or};

/// Left and right, in this order wherever something comes in pairs.
pub(crate) const SIDES: [f32; 2] = [1.0, -1.0];

/// Lengths and widths of the parts of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build {
    /// Radius of the skull.
    pub head: f32,
    neck: f32,
    torso: f32,
    /// Half the distance between the shoulder joints and between the hip joints.
    shoulders: f32,
    hips: f32,
    /// Half the depth of the torso.
    pub depth: f32,
    upper_arm: f32,
    forearm: f32,
    hand: f32,
    thigh: f32,
    shin: f32,
    foot: f32,
    /// Thickness of the limbs, 1 for the usual.
    pub girth: f32,
}

impl Build {
    pub fn draw(rng: &mut Random) -> Self {
        let child = if rng.random_bool(0.2) { rng.random_range(0.3..1.0) } else { 0.0f32 };
        let mut vary = |usual: f32, by: f32| usual * rng.random_range(1.0 - by..1.0 + by);
        let girth = vary(1.05, 0.25);
        let legs = vary(1.0 - 0.2 * child, 0.08);
        Self {
            head: vary(0.070, 0.10) * (1.0 + 0.45 * child),
            neck: vary(0.045, 0.2) * (1.0 - 0.4 * child),
            torso: vary(0.285, 0.08) * (1.0 - 0.1 * child),
            shoulders: vary(0.118, 0.12) * (1.0 - 0.15 * child),
            hips: vary(0.072, 0.12),
            depth: vary(0.062, 0.12) * girth,
            upper_arm: vary(0.165, 0.08) * (1.0 - 0.15 * child),
            forearm: vary(0.145, 0.08) * (1.0 - 0.15 * child),
            hand: vary(0.055, 0.1),
            thigh: 0.245 * legs,
            shin: 0.240 * legs,
            foot: vary(0.085, 0.1) * (1.0 - 0.15 * child),
            girth,
        }
    }
}

/// A body in a pose; the origin is midway between the hips.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub build: Build,
    /// The 17 joints in COCO's order.
    pub joints: [Vector; 17],
    pub torso: Frame,
    pub head: Frame,
    /// Middle of the skull.
    pub skull: Vector,
    /// Midpoint of the shoulders.
    pub chest: Vector,
    /// The upper end of the neck, below the skull.
    pub throat: Vector,
    /// Tips of the left and the right hand and foot.
    pub hands: [Vector; 2],
    pub toes: [Vector; 2],
}

/// Angles of an arm in degrees.
#[derive(Clone, Copy)]
struct Arm {
    /// From hanging (0) through straight out (90) to straight up (180).
    raise: f32,
    /// Direction in which the arm is raised: sideways (0) or forwards (90).
    forwards: f32,
    /// Outward rotation of the upper arm about its own axis.
    twist: f32,
    elbow: f32,
}

#[derive(Clone, Copy)]
struct Leg {
    /// Flexion of the thigh, forwards.
    flex: f32,
    /// Abduction of the thigh, outwards.
    spread: f32,
    knee: f32,
    /// Toes up; at 90 the foot is at a right angle to the shin.
    ankle: f32,
}

impl Body {
    pub fn draw(rng: &mut Random) -> Self {
        let build = Build::draw(rng);
        let yaw = match rng.random_range(0..100) {
            0..55 => rng.random_range(-60.0..60.0),
            55..78 => rng.random_range(130.0..230.0),
            _ => rng.random_range(0.0..360.0),
        };
        let roll = match rng.random_range(0..100) {
            0..92 => rng.random_range(-8.0..8.0),
            92..98 => rng.random_range(55.0..110.0) * sign(rng),
            _ => 180.0 + rng.random_range(-20.0..20.0),
        };
        // The camera looks down slightly, as in most photographs.
        let seen_from = rng.random_range(-6.0..20.0);
        let hips = Frame::FACING.turned([0.0, 1.0, 0.0], yaw).turned([1.0, 0.0, 0.0], -seen_from);
        let hips = hips.turned([0.0, 0.0, 1.0], roll);
        let stoop = if rng.random_bool(0.1) { rng.random_range(20.0..75.0) } else { rng.random_range(-8.0..18.0) };
        let torso = hips.bent(stoop, rng.random_range(-14.0..14.0), rng.random_range(-25.0..25.0));
        let head =
            torso.bent(rng.random_range(-18.0..22.0), rng.random_range(-14.0..14.0), rng.random_range(-50.0..50.0));
        let legs = draw_legs(rng);
        let arms = draw_arms(rng);
        Self::posed(build, [hips, torso, head], arms, legs)
    }

    fn posed(build: Build, [hips, torso, head]: [Frame; 3], arms: [Arm; 2], legs: [Leg; 2]) -> Self {
        let chest = along([0.0; 3], -build.torso, torso.down);
        let throat = along(chest, -build.neck, torso.down);
        let r = build.head;
        let skull = head.at(throat, [0.0, -r * 0.95, r * 0.2]);
        let mut joints = [skull; 17];
        joints[0] = head.at(skull, [0.0, r * 0.18, r * 1.02]);
        let [mut hands, mut toes] = [[chest; 2]; 2];
        for (side, sign) in SIDES.into_iter().enumerate() {
            joints[1 + side] = head.at(skull, [sign * r * 0.40, -r * 0.10, r * 0.88]);
            joints[3 + side] = head.at(skull, [sign * r * 0.93, r * 0.08, -r * 0.08]);

            let arm = arms[side];
            let shoulder = torso.at(chest, [sign * build.shoulders, 0.012, 0.0]);
            let [upper, fore] = arm_directions(torso, sign, arm);
            joints[5 + side] = shoulder;
            joints[7 + side] = along(shoulder, build.upper_arm, upper);
            joints[9 + side] = along(joints[7 + side], build.forearm, fore);
            hands[side] = along(joints[9 + side], build.hand, fore);

            let hip = along([0.0; 3], sign * build.hips, hips.left);
            let [thigh, shin, foot] = leg_directions(hips, sign, legs[side]);
            joints[11 + side] = hip;
            joints[13 + side] = along(hip, build.thigh, thigh);
            joints[15 + side] = along(joints[13 + side], build.shin, shin);
            toes[side] = along(joints[15 + side], build.foot, foot);
        }
        Self { build, joints, torso, head, skull, chest, throat, hands, toes }
    }
}

/// Directions of the upper arm and the forearm.
fn arm_directions(torso: Frame, sign: f32, arm: Arm) -> [Vector; 2] {
    let out = torso.left.map(|c| sign * c);
    let (sin, cos) = arm.forwards.to_radians().sin_cos();
    let away = along(out.map(|c| cos * c), sin, torso.front);
    let axis = unit_or(cross(torso.down, away), torso.left);
    let upper = turned(torso.down, axis, arm.raise);
    // A hanging forearm bends forwards; raising the arm rotates that direction with it, twisting rotates it about the
    // arm.
    let bend = turned(turned(torso.front, axis, arm.raise), upper, sign * arm.twist);
    let hinge = unit_or(cross(upper, bend), torso.left);
    [upper, turned(upper, hinge, arm.elbow)]
}

/// Directions of the thigh, the shin and the foot.
fn leg_directions(hips: Frame, sign: f32, leg: Leg) -> [Vector; 3] {
    let (sin, cos) = leg.flex.to_radians().sin_cos();
    let straight = hips.at([0.0; 3], [sign * leg.spread.to_radians().tan(), cos, sin]);
    let thigh = unit_or(straight, hips.down);
    // The axis of the knee is the left direction, made orthogonal to the thigh.
    let hinge = unit_or(along(hips.left, -dot(hips.left, thigh), thigh), hips.left);
    let shin = turned(thigh, hinge, -leg.knee);
    [thigh, shin, turned(shin, hinge, leg.ankle)]
}

fn sign(rng: &mut Random) -> f32 {
    if rng.random_bool(0.5) { 1.0 } else { -1.0 }
}

fn draw_arms(rng: &mut Random) -> [Arm; 2] {
    let (kind, alike) = (rng.random_range(0..100), rng.random_bool(0.55));
    let other = if alike { kind } else { rng.random_range(0..100) };
    [kind, other].map(|kind| match kind {
        // Hanging.
        0..35 => Arm {
            raise: rng.random_range(4.0..25.0),
            forwards: rng.random_range(-50.0..70.0),
            twist: rng.random_range(-40.0..20.0),
            elbow: rng.random_range(3.0..40.0),
        },
        // Hand on the hip.
        35..45 => Arm {
            raise: rng.random_range(35.0..55.0),
            forwards: rng.random_range(-25.0..5.0),
            twist: rng.random_range(-75.0..-50.0),
            elbow: rng.random_range(75.0..105.0),
        },
        // Raised.
        45..65 => Arm {
            raise: rng.random_range(85.0..170.0),
            forwards: rng.random_range(-10.0..80.0),
            twist: rng.random_range(20.0..100.0),
            elbow: rng.random_range(0.0..110.0),
        },
        // Carrying something, or arms folded.
        65..80 => Arm {
            raise: rng.random_range(5.0..60.0),
            forwards: rng.random_range(30.0..100.0),
            twist: rng.random_range(-50.0..15.0),
            elbow: rng.random_range(50.0..125.0),
        },
        // Anything.
        _ => Arm {
            raise: rng.random_range(0.0..170.0),
            forwards: rng.random_range(-35.0..110.0),
            twist: rng.random_range(-60.0..90.0),
            elbow: rng.random_range(0.0..140.0),
        },
    })
}

fn draw_legs(rng: &mut Random) -> [Leg; 2] {
    let kind = rng.random_range(0..100);
    let stride = rng.random_range(10.0..50.0) * sign(rng);
    let (bend, spread) = (rng.random_range(0.0..30.0), rng.random_range(0.0..18.0));
    std::array::from_fn(|side| match kind {
        // Standing.
        0..48 => Leg {
            flex: rng.random_range(-6.0..12.0),
            spread: spread * 0.6 + rng.random_range(-2.0..3.0),
            knee: rng.random_range(0.0..14.0),
            ankle: rng.random_range(75.0..95.0),
        },
        // Walking or running.
        48..72 => {
            let forwards = stride * SIDES[side];
            Leg {
                flex: if forwards > 0.0 { forwards } else { 0.6 * forwards },
                spread: rng.random_range(-2.0..5.0),
                knee: rng.random_range(4.0..30.0) + if forwards > 0.0 { bend } else { 1.2 * forwards.abs() },
                ankle: rng.random_range(60.0..95.0),
            }
        }
        // Sitting or squatting.
        72..86 => Leg {
            flex: 70.0 + bend + rng.random_range(-8.0..8.0),
            spread: spread + rng.random_range(-3.0..6.0),
            knee: 65.0 + 2.0 * bend + rng.random_range(-10.0..10.0),
            ankle: rng.random_range(70.0..100.0),
        },
        // Anything.
        _ => Leg {
            flex: rng.random_range(-20.0..105.0),
            spread: rng.random_range(-4.0..42.0),
            knee: rng.random_range(0.0..125.0),
            ankle: rng.random_range(50.0..100.0),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn distance(a: Vector, b: Vector) -> f32 {
        let d = along(a, -1.0, b);
        dot(d, d).sqrt()
    }

    fn facing(arm: Arm, leg: Leg) -> Body {
        let build = Build::draw(&mut Random::from_seed([0; 32]));
        Body::posed(build, [Frame::FACING; 3], [arm; 2], [leg; 2])
    }

    const STANDING: Leg = Leg { flex: 0.0, spread: 0.0, knee: 0.0, ankle: 90.0 };
    const HANGING: Arm = Arm { raise: 0.0, forwards: 0.0, twist: 0.0, elbow: 0.0 };

    #[test]
    fn joints_bend_the_way_of_human_joints() {
        let body = facing(HANGING, STANDING);
        let j = body.joints;
        assert!(j[5][0] > 0.0 && j[6][0] < 0.0, "who faces us has the left shoulder on our right");
        assert!(j[0][1] < j[5][1] && j[5][1] < j[11][1] && j[11][1] < j[13][1] && j[13][1] < j[15][1]);
        assert!(j[0][2] > j[3][2], "the nose is in front of the ears");
        assert!(body.toes[0][2] > j[15][2] + 0.01, "toes are in front of the ankle");
        // A bent elbow brings the hand forwards, a bent knee the foot backwards.
        let bent = facing(Arm { elbow: 90.0, ..HANGING }, Leg { knee: 90.0, ..STANDING }).joints;
        assert!((bent[9][2] - bent[7][2] - body.build.forearm).abs() < 1e-5, "{bent:?}");
        assert!((bent[13][2] - bent[15][2] - body.build.shin).abs() < 1e-5, "{bent:?}");
        // Arms straight out sideways and twisted outwards: the forearms point up.
        let arms = Arm { raise: 90.0, twist: 90.0, elbow: 90.0, ..HANGING };
        let signal = facing(arms, STANDING).joints;
        for side in 0..2 {
            assert!((signal[7 + side][0] - signal[5 + side][0]) * SIDES[side] > 0.1);
            assert!(signal[9 + side][1] < signal[7 + side][1] - 0.1, "{signal:?}");
        }
        // Sitting: thighs forwards, shins down; spread: knees further apart than hips.
        let sitting = facing(HANGING, Leg { flex: 90.0, knee: 90.0, spread: 20.0, ..STANDING }).joints;
        assert!(sitting[13][2] > 0.2 && sitting[15][1] > sitting[13][1] + 0.2, "{sitting:?}");
        assert!(sitting[13][0] > sitting[11][0] + 0.05 && sitting[14][0] < sitting[12][0] - 0.05);
    }

    #[test]
    fn bones_keep_their_lengths_in_every_pose() {
        let mut rng = Random::from_seed([1; 32]);
        for _ in 0..300 {
            let body = Body::draw(&mut rng);
            let (j, b) = (body.joints, body.build);
            for side in 0..2 {
                for (from, to, expected) in
                    [(5, 7, b.upper_arm), (7, 9, b.forearm), (11, 13, b.thigh), (13, 15, b.shin)]
                {
                    assert!((distance(j[from + side], j[to + side]) - expected).abs() < 1e-4);
                }
            }
            assert!((distance(j[5], j[6]) - 2.0 * b.shoulders).abs() < 1e-4);
            assert!((distance(j[11], j[12]) - 2.0 * b.hips).abs() < 1e-4);
            assert!(distance(j[3], j[4]) < 2.0 * b.head);
        }
    }
}
