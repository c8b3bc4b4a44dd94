//! Exact counts of the reference definition: hidden = max(1, floor(C_in / 4)), biased attention, no kernel biases,
//! K = 4; block convolutions dynamic; stem, head, shortcuts, squeeze-and-excitation and classifier static. The numbers
//! follow from the layer shapes; several equal published counts to the last digit.

use dyconv_graph::{NetworkCost, cost};
use dyconv_models::{ALL, DynamicParts, ModelName, Options, build, dynamic_form, pose_names};

struct Row {
    name: &'static str,
    static_params: u64,
    static_madds: u64,
    dynamic_layers: usize,
    dynamic_params: u64,
    attention_params: u64,
    mixing: u64,
    attention: u64,
    pooling: u64,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "mobilenet_v2_x1_0",        static_params:  3_504_872, static_madds:   300_774_272, dynamic_layers: 50, dynamic_params: 11_149_736, attention_params: 2_306_976, mixing:  7_117_184, attention: 2_302_912, pooling: 6_599_712 },
    Row { name: "mobilenet_v2_x0_75",       static_params:  2_636_424, static_madds:   209_069_792, dynamic_layers: 50, dynamic_params:  7_012_118, attention_params: 1_312_886, mixing:  4_083_744, attention: 1_309_736, pooling: 5_780_824 },
    Row { name: "mobilenet_v2_x0_5",        static_params:  1_968_680, static_madds:    97_131_840, dynamic_layers: 50, dynamic_params:  3_946_334, attention_params:   585_942, mixing:  1_855_616, attention:   583_784, pooling: 3_569_552 },
    Row { name: "mobilenet_v2_x0_35",       static_params:  1_677_128, static_madds:    59_285_808, dynamic_layers: 50, dynamic_params:  2_686_612, attention_params:   294_716, mixing:    953_024, attention:   293_104, pooling: 2_794_568 },
    Row { name: "mobilenet_v3_small_early", static_params:  3_113_176, static_madds:    66_393_664, dynamic_layers: 32, dynamic_params:  4_779_546, attention_params:   473_786, mixing:  1_590_112, attention:   472_312, pooling: 1_600_928 },
    Row { name: "mobilenet_v3_small",       static_params:  2_542_856, static_madds:    56_510_400, dynamic_layers: 32, dynamic_params:  4_209_226, attention_params:   473_786, mixing:  1_590_112, attention:   472_312, pooling: 1_379_840 },
    Row { name: "mobilenet_v3_large",       static_params:  5_483_032, static_madds:   216_589_760, dynamic_layers: 44, dynamic_params: 10_960_602, attention_params: 1_633_850, mixing:  5_124_960, attention: 1_630_904, pooling: 4_344_928 },
    Row { name: "resnet10",                 static_params:  5_418_792, static_madds:   889_229_312, dynamic_layers:  8, dynamic_params: 19_686_008, attention_params:   111_440, mixing: 18_874_368, attention:   111_040, pooling:   928_256 },
    Row { name: "resnet18",                 static_params: 11_689_512, static_madds: 1_814_073_344, dynamic_layers: 16, dynamic_params: 44_933_880, attention_params:   287_952, mixing: 43_941_888, attention:   287_040, pooling: 1_680_896 },
    Row { name: "resnet50",                 static_params: 25_557_032, static_madds: 4_089_184_256, dynamic_layers: 48, dynamic_params: 92_223_960, attention_params: 4_637_104, mixing: 82_706_432, attention: 4_631_744, pooling: 8_906_240 },
    Row { name: "efficientnet_lite0",       static_params:  4_652_008, static_madds:   385_187_552, dynamic_layers: 47, dynamic_params: 17_244_904, attention_params: 3_837_312, mixing: 11_674_112, attention: 3_832_272, pooling: 6_659_296 },
];

fn count(name: &str, options: &Options) -> NetworkCost {
    cost(&build(name, options).unwrap_or_else(|e| panic!("{name}: {e}")))
}

#[test]
fn every_listed_network_is_pinned() {
    let mut listed: Vec<_> = ALL.to_vec();
    let mut pinned: Vec<_> = ROWS.iter().map(|r| r.name).collect();
    listed.sort_unstable();
    pinned.sort_unstable();
    assert_eq!(listed, pinned);
}

#[test]
fn counts_are_exact() {
    for row in ROWS {
        let twin = count(row.name, &Options::default());
        assert_eq!(twin.params, row.static_params, "{}", row.name);
        assert_eq!(twin.total.total(), row.static_madds, "{}", row.name);
        assert_eq!(twin.total.convolution, row.static_madds, "{}", row.name);

        let name = format!("dy_{}", row.name);
        let graph = build(&name, &Options::default()).unwrap();
        assert_eq!(graph.dynamic_layers(), row.dynamic_layers, "{name}");
        let dynamic = cost(&graph);
        assert_eq!(dynamic.params, row.dynamic_params, "{name}");
        assert_eq!(dynamic.attention_params, row.attention_params, "{name}");
        assert_eq!(dynamic.total.convolution, row.static_madds, "{name}");
        assert_eq!(dynamic.total.mixing, row.mixing, "{name}");
        assert_eq!(dynamic.total.attention, row.attention, "{name}");
        assert_eq!(dynamic.total.pooling, row.pooling, "{name}");
        let total = row.static_madds + row.mixing + row.attention + row.pooling / 2;
        assert_eq!(dynamic.total.total(), total, "{name}");
    }
}

/// Parameters of all five EfficientNet-Lite, and their multiply-adds at their own image sizes: the published numbers are 4.7 M and
/// 407 M, 5.4 M and 631 M, 6.1 M and 899 M, 8.2 M and 1.44 G, 13.0 M and 2.64 G; that counter
/// adds about three operations for each output of a convolution, which ours leaves out.
#[test]
fn the_five_efficientnet_lites_have_the_published_counts() {
    let rows: [(usize, u64, u64); 5] = [
        (224, 4_652_008, 385_187_552),
        (240, 5_416_680, 600_185_232),
        (260, 6_092_072, 859_736_272),
        (280, 8_197_096, 1_383_321_872),
        (300, 13_006_568, 2_553_034_336),
    ];
    for (i, (side, params, madds)) in rows.into_iter().enumerate() {
        let name = format!("efficientnet_lite{i}");
        assert_eq!(name.parse::<ModelName>().unwrap().image_size(), [side; 2], "{name}");
        let counted = count(&name, &Options { image_size: [side; 2], ..Options::default() });
        assert_eq!((counted.params, counted.total.total()), (params, madds), "{name}");
    }
}

/// A public re-implementation makes every convolution except the stem dynamic and prints these counts.
#[test]
fn both_switches_give_the_published_profile() {
    let head = |classes| Options { classes, dynamic_head: true, ..Options::default() };
    assert_eq!(count("dy_mobilenet_v2_x1_0", &head(10)).params, 11_136_350);
    assert_eq!(count("dy_mobilenet_v2_x0_5", &head(10)).params, 3_299_148);
    assert_eq!(count("dy_mobilenet_v2_x1_0", &head(200)).params, 11_379_740);
    let tiny =
        Options { classes: 200, dynamic_shortcut: true, small_stem: true, image_size: [64, 64], ..Options::default() };
    assert_eq!(count("dy_resnet10", &tiny).params, 19_806_100);
    assert_eq!(count("dy_mobilenet_v2_x1_0", &head(1000)).params, 12_404_540);
    assert_eq!(count("dy_mobilenet_v2_x0_75", &head(1000)).params, 7_948_422);
    assert_eq!(count("dy_mobilenet_v2_x0_5", &head(1000)).params, 4_567_338);
    let shortcut = Options { dynamic_shortcut: true, ..Options::default() };
    assert_eq!(count("dy_resnet18", &shortcut).params, 45_472_052);
    assert_eq!(count("dy_resnet50", &shortcut).params, 100_878_072);
}

/// MobileNetV2 ×0.5 with one convolution of each block dynamic: parameters, mixing, attention, pooling.
#[test]
fn parts_can_be_chosen() {
    let parts = |expand, depthwise, project| {
        let options = Options { dynamic_parts: DynamicParts { expand, depthwise, project }, ..Options::default() };
        let c = count("dy_mobilenet_v2_x0_5", &options);
        (c.params, c.total.mixing, c.total.attention, c.total.pooling)
    };
    assert_eq!(parts(true, false, false), (2_545_318, 757_248, 8_488, 303_408));
    assert_eq!(parts(false, true, false), (2_354_932, 130_176, 287_648, 2_021_152));
    assert_eq!(parts(false, false, true), (2_983_444, 968_192, 287_648, 1_244_992));
    assert_eq!(parts(false, false, false), (1_968_680, 0, 0, 0));
}

#[test]
fn kernels_per_layer_and_one_kernel() {
    let one = Options { kernels: 1, ..Options::default() };
    assert_eq!(build("dy_resnet18", &one).unwrap(), build("resnet18", &one).unwrap());
    let mut options = Options::default();
    options.layer_kernels.insert("layer4.*".into(), 8);
    let more = count("dy_resnet10", &options).params - count("dy_resnet10", &Options::default()).params;
    let weights = 256 * 512 * 9 + 512 * 512 * 9;
    assert_eq!(more, 4 * weights + 4 * (64 + 1) + 4 * (128 + 1));
    options.layer_kernels.insert("layer5.*".into(), 8);
    assert!(build("dy_resnet10", &options).unwrap_err().to_string().contains("`layer5.*` matches no dynamic layer"));
}

#[test]
fn small_images_classes_channels_and_squeeze_excitation() {
    for name in ALL {
        let options =
            Options { classes: 7, in_channels: 1, image_size: [32, 28], small_stem: true, ..Options::default() };
        let graph = build(&format!("dy_{name}"), &options).unwrap();
        assert_eq!(graph.output_shape().dims(), [7], "{name}");
        let stem = graph.node(graph.find("stem").unwrap());
        assert_eq!(stem.shape.dims()[1..], [32, 28], "{name}");
    }
    let plain = Options { se: false, ..Options::default() };
    assert_eq!(count("mobilenet_v3_small_early", &plain).params, 2_484_928);
    assert_eq!(count("dy_mobilenet_v3_small_early", &plain).params, 4_151_298);
    for (name, options) in [
        ("resnet18", Options { se: false, ..Options::default() }),
        ("resnet18", Options { dynamic_head: true, ..Options::default() }),
        ("mobilenet_v2_x1_0", Options { dynamic_shortcut: true, ..Options::default() }),
        ("resnet18", Options { kernels: 0, ..Options::default() }),
        ("resnet18", Options { width: Some(-1.0), ..Options::default() }),
    ] {
        assert!(build(name, &options).unwrap_err().to_string().starts_with("model option `"));
    }
}

/// The networks of a study in PyTorch on 32 × 32 glyphs in 46 classes: parameters, and MAdds as that study counts them (one
/// MAdd per addition in a pooling, none for the normalization after it).
#[test]
fn the_small_networks_for_glyphs_have_the_counts_of_the_study() {
    let options = Options { classes: 46, image_size: [32, 32], min_hidden: 4, ..Options::default() };
    let rows: [(&str, u64, u64, usize, u64, u64); 2] =
        [("rn4", 5_050, 164, 8, 17_438, 184), ("mb4", 5_056, 137, 23, 14_288, 162)];
    for (name, static_params, static_kilo, layers, params, kilo) in rows {
        let twin = count(name, &options);
        assert_eq!((twin.params, (twin.total.total() + 500) / 1000), (static_params, static_kilo), "{name}");
        let graph = build(&format!("dy_{name}"), &options).unwrap();
        let dynamic = cost(&graph);
        let madds = dynamic.total.convolution + dynamic.total.mixing + dynamic.total.attention + dynamic.total.pooling;
        assert_eq!((graph.dynamic_layers(), dynamic.params, (madds + 500) / 1000), (layers, params, kilo), "dy_{name}");
    }
}

/// Parameters and multiply-adds of the nodes whose name `part` selects.
fn count_part(name: &str, part: impl Fn(&str) -> bool) -> [u64; 2] {
    let graph = build(name, &Options { image_size: [256, 192], ..Options::default() }).unwrap();
    let of_part = cost(&graph).nodes.into_iter().filter(|n| part(&graph.node(n.node).name));
    of_part.fold([0, 0], |[params, madds], n| [params + n.params, madds + n.madds.total()])
}

fn in_head(name: &str) -> bool {
    name.starts_with("deconv.") || name.starts_with("up.") || name == "heatmaps"
}

/// A row of the paper's COCO table at 256 × 192 pixels: parameters and multiply-adds of the backbone, static and dynamic, of
/// head a, and of head b, static and dynamic.
type PoseRow = (&'static str, [[u64; 2]; 5]);

/// In the paper: backbones 2.2 M / 292.6 M and 9.8 M / 305.3 M, 0.7 M / 93.7 M and 2.7 M / 98.0 M, 1.1 M / 62.7 M and
/// 2.8 M / 65.1 M, 10.6 M / 1.77 G and 42.2 M / 1.81 G (those of ResNet in units of 2²⁰ parameters; those of MobileNets
/// derived from rounded counts for 224 pixels); head b 1.2 M / 701.1 M and 6.3 M / 709.4 M, after MobileNetV3 1.0 M /
/// 664.2 M and 4.9 M. The table of head b is a guess (see `pose`); its extra cost when dynamic, 8.35 M, agrees with the
/// 8.3 M of the paper.
#[rustfmt::skip]
const POSE: &[PoseRow] = &[
    ("mobilenet_v2_x1_0",        [[ 2_223_872,   293_382_144], [ 9_868_736,   306_034_752], [7_345_937, 1_271_660_544], [1_211_665, 703_856_640], [5_960_033, 712_211_072]]),
    ("mobilenet_v2_x0_5",        [[   687_680,    93_895_680], [ 2_665_334,    98_083_432], [7_345_937, 1_271_660_544], [1_211_665, 703_856_640], [5_960_033, 712_211_072]]),
    ("mobilenet_v3_small_early", [[ 1_093_616,    63_075_328], [ 2_759_986,    65_921_880], [4_462_353, 1_133_248_512], [1_031_441, 669_253_632], [4_911_601, 676_492_224]]),
    ("resnet18",                 [[11_176_512, 1_776_549_888], [44_420_880, 1_821_602_112], [4_200_209, 1_120_665_600], [1_015_057, 666_107_904], [4_828_577, 673_257_344]]),
];

#[test]
fn keypoint_networks_have_the_counts_of_the_paper() {
    for (backbone, [still, dynamic, a, b, dynamic_b]) in POSE {
        for (name, of_backbone, of_head) in [
            (format!("pose_{backbone}_a"), still, a),
            (format!("pose_dy_{backbone}_a"), dynamic, a),
            (format!("pose_{backbone}_b"), still, b),
            (format!("pose_dy_{backbone}_b"), dynamic, dynamic_b),
        ] {
            assert_eq!(count_part(&name, |n| !in_head(n)), *of_backbone, "{name}: backbone");
            assert_eq!(count_part(&name, in_head), *of_head, "{name}: head");
        }
    }
}

/// The backbone is the classifier without its final layers, for images of another size.
#[test]
fn backbones_of_keypoint_networks_are_those_of_the_classifiers() {
    for (name, [params, madds]) in
        [("mobilenet_v2_x0_35", [1281 * 1000, 1_280_000]), ("resnet50", [2049 * 1000, 2_048_000])]
    {
        let whole = count(name, &Options::default());
        let part = count_part(&format!("pose_{name}_a"), |n| !in_head(n));
        let [same, scaled] = [whole.params - params, (whole.total.total() - madds) * 256 * 192 / (224 * 224)];
        assert_eq!(part, [same, scaled], "{name}");
    }
}

#[test]
fn heat_maps_have_a_quarter_of_the_sides_and_options_count() {
    for name in pose_names().flat_map(|n| [dynamic_form(&n), n]) {
        let options = Options { joints: 5, image_size: [64, 96], head_width: 0.25, ..Options::default() };
        let graph = build(&name, &options).unwrap();
        assert_eq!(graph.output_shape().dims(), [5, 16, 24], "{name}");
    }
    let narrow = Options { image_size: [256, 192], head_width: 0.25, ..Options::default() };
    let graph = build("pose_resnet18_a", &narrow).unwrap();
    assert_eq!(graph.node(graph.find("deconv.1").unwrap()).shape.dims(), [64, 32, 24]);
    // Only the backbone or only the head is dynamic.
    let still = |pattern: &str| {
        let mut options = Options { image_size: [128, 96], ..Options::default() };
        options.layer_kernels.insert(pattern.into(), 1);
        build("pose_dy_mobilenet_v2_x0_5_b", &options).unwrap().dynamic_layers()
    };
    assert_eq!((still("up.*"), still("blocks.*")), (50, 12));
    for (name, options, word) in [
        ("resnet18", Options { head_width: 0.5, ..Options::default() }, "head_width"),
        ("pose_resnet18_a", Options { head_width: 0.0, ..Options::default() }, "head_width"),
        ("pose_resnet18_a", Options { joints: 0, ..Options::default() }, "joints"),
        ("pose_resnet18_a", Options { dropout: Some(0.1), ..Options::default() }, "dropout"),
    ] {
        let error = build(name, &options).unwrap_err().to_string();
        assert!(error.starts_with(&format!("model option `{word}`")), "{error}");
    }
}
