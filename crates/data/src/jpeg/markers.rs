//! Reads the marker segments of a JPEG, before anything is decoded.

/// Offset of the colour transform in Adobe's segment.
const TRANSFORM: usize = 11;

/// The colour transform in a segment, if it is Adobe's.
fn adobe(content: &[u8]) -> Option<u8> {
    if content.starts_with(b"Adobe") { content.get(TRANSFORM).copied() } else { None }
}

/// Properties of a file, from its segments.
#[derive(Debug, Default)]
pub(super) struct Markers<'a> {
    /// The frame header; `None` if it is missing or truncated.
    pub frame: Option<Frame>,
    /// Number of components in each scan.
    pub scans: Vec<u8>,
    /// The first EXIF block, from its TIFF header on.
    pub exif: Option<&'a [u8]>,
    /// Whether there are bytes between segments that belong to none. Decoders skip them.
    pub stray: bool,
    /// Whether the end marker was reached.
    pub whole: bool,
    /// Offset of a colour transform that is none of Adobe's three.
    pub odd_transform: Option<usize>,
    jfif: bool,
    /// The colour transform of Adobe's segment.
    adobe: Option<u8>,
}

/// A frame header.
#[derive(Debug)]
pub(super) struct Frame {
    /// Second byte of its marker: the coding process.
    pub marker: u8,
    /// Bits per sample.
    pub precision: u8,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
}

/// A component of a frame.
#[derive(Debug)]
pub(super) struct Component {
    pub id: u8,
    /// Sampling factors: horizontal, vertical.
    pub sampling: (u8, u8),
}

/// The colour space of the components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

impl<'a> Markers<'a> {
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        let (mut at, mut in_scan) = (2, false);
        // Skips to the next marker: over entropy-coded data (FF 00 is data), restart markers and fill bytes.
        while let Some(skipped) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff)) {
            found.stray |= !in_scan && skipped > 0;
            at += skipped + 1;
            match bytes.get(at) {
                None => break,
                Some(0xd9) => {
                    found.whole = true;
                    break;
                }
                Some(0x00 | 0x01 | 0xd0..=0xd8) => {
                    found.stray |= !in_scan;
                    at += 1;
                }
                Some(0xff) => {}
                Some(&marker) => {
                    let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { break };
                    let end = at + 1 + usize::from(u16::from_be_bytes([high, low]));
                    let content = bytes.get(at + 3..end).unwrap_or_default();
                    found.segment(marker, content);
                    if marker == 0xee && adobe(content).is_some_and(|transform| transform > 2) {
                        found.odd_transform = Some(at + 3 + TRANSFORM);
                    }
                    (at, in_scan) = (end, marker == 0xda);
                }
            }
        }
        found
    }

    fn segment(&mut self, marker: u8, content: &'a [u8]) {
        match (marker, content) {
            // A second frame header is left to the decoders, which reject it.
            (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, _) if self.frame.is_none() => {
                self.frame = Frame::read(marker, content);
            }
            (0xda, &[components, ..]) => self.scans.push(components),
            (0xe0, [b'J', b'F', b'I', b'F', 0, ..]) if content.len() >= 12 => self.jfif = true,
            (0xee, _) => self.adobe = adobe(content).or(self.adobe),
            (0xe1, [b'E', b'x', b'i', b'f', 0, _, tiff @ ..]) if self.exif.is_none() => self.exif = Some(tiff),
            _ => {}
        }
    }

    /// The colour space, by libjpeg's rules: JFIF takes precedence over Adobe's segment, and that over the components'
    /// ids.
    pub fn colours(&self) -> Result<Colours, String> {
        let ids: Vec<u8> = self.frame.iter().flat_map(|frame| &frame.components).map(|c| c.id).collect();
        match (ids.len(), self.jfif, self.adobe) {
            (1, ..) => Ok(Colours::Grey),
            (3, true, _) => Ok(Colours::YCbCr),
            (3, false, Some(0)) => Ok(Colours::Rgb),
            (3, false, None) if ids == *b"RGB" => Ok(Colours::Rgb),
            (3, ..) => Ok(Colours::YCbCr),
            (4, _, None | Some(0)) => Ok(Colours::Cmyk),
            (4, ..) => Ok(Colours::Ycck),
            (n, ..) => Err(format!("a JPEG of {n} components, expected 1 (grey), 3 or 4 (colours)")),
        }
    }

    /// Whether the file is of the common kind that the faster decoder decodes correctly: grey or YCbCr, the chroma
    /// sampled as finely as the luma or half as finely, and all components in one scan unless it is progressive.
    pub fn usual(&self) -> bool {
        let Some(frame) = &self.frame else { return false };
        let components: Vec<(u8, (u8, u8))> = frame.components.iter().map(|c| (c.id, c.sampling)).collect();
        let usual = match components[..] {
            [(_, (1, 1))] => self.adobe.is_none(),
            [(1, luma), (2, (1, 1)), (3, (1, 1))] => {
                [(1, 1), (2, 1), (1, 2), (2, 2)].contains(&luma) && matches!(self.adobe, None | Some(1))
            }
            _ => false,
        };
        usual && !self.stray && (frame.is_progressive() || self.scans == [components.len() as u8])
    }
}

impl Frame {
    fn read(marker: u8, content: &[u8]) -> Option<Self> {
        let (&[precision, h1, h0, w1, w0, count], rest) = content.split_first_chunk::<6>()?;
        let [height, width] = [[h1, h0], [w1, w0]].map(|side| usize::from(u16::from_be_bytes(side)));
        let component = |c: &[u8; 3]| Component { id: c[0], sampling: (c[1] >> 4, c[1] & 15) };
        let components: Vec<Component> = rest.as_chunks::<3>().0.iter().map(component).collect();
        let lawful = components.len() == usize::from(count)
            && components.iter().all(|c| (1..=4).contains(&c.sampling.0) && (1..=4).contains(&c.sampling.1));
        lawful.then_some(Self { marker, precision, width, height, components })
    }

    pub fn is_progressive(&self) -> bool {
        self.marker == 0xc2
    }

    /// Upper bound of the bytes that decoding takes, the picture with this many channels included: samples, and in a
    /// progressive file two bytes for each coefficient.
    pub fn bytes(&self, channels: usize) -> usize {
        let most = |side: fn(&Component) -> u8| self.components.iter().map(side).max().map_or(1, usize::from);
        let (across, down) = (most(|c| c.sampling.0), most(|c| c.sampling.1));
        let mcus = self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down);
        let blocks: usize = self.components.iter().map(|c| usize::from(c.sampling.0) * usize::from(c.sampling.1)).sum();
        let samples = 64 * mcus * blocks;
        self.width * self.height * channels + samples * if self.is_progressive() { 3 } else { 1 }
    }
}
