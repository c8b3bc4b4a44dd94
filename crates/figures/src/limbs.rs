//! Trunk, legs and arms of a figure, dressed.

use crate::body::SIDES;
use crate::canvas::{Fabric, shaded};
use crate::clothes::{Legs, Sleeves};
use crate::figure::{Part, Pieces};
use crate::space::{Vector, along, between, unit_or};

impl Pieces<'_> {
    /// Torso, hips and neck.
    pub fn add_trunk(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (t, j, depth) = (body.torso, &body.joints, body.build.depth);
        let middle = body.chest[2] / 2.0;
        let front = depth - 0.03;
        let mut points = vec![j[11], j[12]];
        for share in [1.0, -1.0] {
            points.push(t.at(body.chest, [0.0, 0.015, share * front]));
            points.push(t.at([0.0; 3], [0.0, 0.0, share * front * 0.9]));
        }
        for (side, sign) in SIDES.into_iter().enumerate() {
            points.push(t.at(j[5 + side], [-sign * 0.008, 0.004, 0.0]));
        }
        let radius = 0.030 * clothes.loose.min(1.2);
        self.cloth(middle, Part::Torso, &points, radius, clothes.shirt, t.down);
        let pelvis = 0.052 * body.build.girth.sqrt() * clothes.loose.sqrt();
        self.limb(middle.min(0.0) - 0.012, Part::Pelvis, [j[11], j[12]], [pelvis; 2], clothes.trousers);
        let neck = [body.chest, along(body.throat, 0.3, between(body.throat, body.skull))];
        let shadow = Fabric::plain(shaded(clothes.skin, 0.92));
        self.limb(middle + 0.004, Part::Neck, neck, [0.034, 0.030], shadow);
        // Details on the front of a shirt distinguish front from back.
        if let Some(colour) = clothes.buttons
            && t.front[2] > 0.15
        {
            let top = t.at(body.chest, [0.0, 0.01, depth]);
            let bottom = t.at([0.0; 3], [0.0, -0.03, depth]);
            self.limb(middle + 0.003, Part::Torso, [top, bottom], [0.006; 2], Fabric::plain(colour));
        }
    }

    /// Thighs, shins and feet in trousers, shorts or a skirt.
    pub fn add_legs(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (j, girth) = (&body.joints, body.build.girth);
        let skin = Fabric::plain(clothes.skin);
        let long = clothes.legs == Legs::Trousers;
        let [wide, cloth] = [clothes.loose * girth, clothes.loose];
        for side in 0..2 {
            let (hip, knee, ankle) = (j[11 + side], j[13 + side], j[15 + side]);
            let depth = |a: Vector, b: Vector| (a[2] + b[2]) / 2.0;
            let (upper, lower) = (depth(hip, knee) - 0.01, depth(knee, ankle) - 0.01);
            let (thigh, shin) = (Part::Thigh(side), Part::Shin(side));
            if clothes.legs == Legs::Skirt {
                self.limb(upper, thigh, [hip, knee], [0.050 * girth, 0.036 * girth], skin);
            } else {
                let end = if long { 1.0 } else { 0.8 };
                let hem = along(hip, end, between(hip, knee));
                self.limb(upper - 0.001, thigh, [hip, knee], [0.046 * girth, 0.035 * girth], skin);
                self.limb(upper, thigh, [hip, hem], [0.053 * wide, 0.040 * wide], clothes.trousers);
            }
            let (fabric, radii) = if long {
                (clothes.trousers, [0.039 * wide, 0.028 * wide * cloth])
            } else {
                (skin, [0.036 * girth, 0.023 * girth])
            };
            self.limb(lower, shin, [knee, ankle], radii, fabric);
            // A shoe extends slightly below the ankle.
            let below = unit_or(between(knee, ankle), body.torso.down);
            let shoe = [along(ankle, 0.018, below), along(body.toes[side], 0.012, below)];
            let (depth, radii) = (depth(ankle, body.toes[side]) - 0.008, [0.027 * girth.sqrt(), 0.020]);
            self.limb(depth, Part::Foot(side), shoe, radii, Fabric::plain(clothes.shoes));
        }
        if clothes.legs == Legs::Skirt {
            let mut points = vec![j[11], j[12]];
            for (side, sign) in SIDES.into_iter().enumerate() {
                let hem = along(j[11 + side], 0.72, between(j[11 + side], j[13 + side]));
                points.push(along(hem, sign * 0.03 * clothes.loose, body.torso.left));
            }
            let depth = (j[13][2].max(j[14][2]) / 2.0).max(0.0) - 0.004;
            self.cloth(depth, Part::Skirt, &points, 0.040, clothes.trousers, body.torso.down);
        }
    }

    /// Upper arms, forearms and hands.
    pub fn add_arms(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (j, girth) = (&body.joints, body.build.girth);
        let skin = Fabric::plain(clothes.skin);
        let wide = girth * clothes.loose;
        for side in 0..2 {
            let (shoulder, elbow, wrist, hand) = (j[5 + side], j[7 + side], j[9 + side], body.hands[side]);
            let depth = |a: Vector, b: Vector| (a[2] + b[2]) / 2.0 + 0.012;
            let (upper, lower) = (depth(shoulder, elbow), depth(elbow, wrist));
            let part = Part::UpperArm(side);
            self.limb(upper - 0.001, part, [shoulder, elbow], [0.032 * girth, 0.026 * girth], skin);
            let sleeve = match clothes.sleeves {
                Sleeves::None => 0.0,
                Sleeves::Short => 0.55,
                Sleeves::Long => 1.0,
            };
            if sleeve > 0.0 {
                let end = along(shoulder, sleeve, between(shoulder, elbow));
                self.limb(upper, part, [shoulder, end], [0.036 * wide.min(1.35), 0.031 * wide], clothes.shirt);
            }
            let (fabric, radii) = match clothes.sleeves {
                Sleeves::Long => (clothes.shirt, [0.030 * wide, 0.023 * wide]),
                _ => (skin, [0.026 * girth, 0.018 * girth]),
            };
            self.limb(lower, Part::Forearm(side), [elbow, wrist], radii, fabric);
            let palm = along(wrist, 0.3, between(wrist, hand));
            self.limb(lower + 0.004, Part::Hand(side), [palm, hand], [0.022, 0.017], skin);
        }
    }
}
