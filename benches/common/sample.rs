//! One payload on its way through a column's operations, as a thread of the loader takes it, without the loader.

use feedstock::augment::{self, Chain, Drawn, OpConfig, SlotMut, Tools};
use feedstock::codec::{self, Codec, Limits, Ranged};
use feedstock::data::info::Kind;
use feedstock::error::Fault;
use feedstock::rng::Key;

/// A payload, what is done with it, and the slot that it is written into again and again.
pub(crate) struct Sample {
    chain: Chain,
    payload: Vec<u8>,
    codec: &'static dyn Codec,
    drawn: Drawn,
    shape: Vec<usize>,
    room: Vec<u8>,
    limits: Limits,
    tools: Tools,
}

/// What a batch's memory is aligned to.
const ALIGNED: usize = 64;

impl Sample {
    /// Settles all that does not repeat: `ops` as a recipe has them, drawn once.
    pub(crate) fn new(kind: Kind, payload: Vec<u8>, ops: serde_json::Value) -> Self {
        let list: Vec<OpConfig> = serde_json::from_value(ops).expect("operations");
        let ops = OpConfig::build(&list, "column", &augment::ops()).expect("operations");
        let chain = Chain::compile(kind, ops, true).expect("a chain");
        let limits = Limits::default();
        let codec = codec::sniff(&payload, kind).expect("a known format");
        let info = codec.probe(&payload, &limits).expect("a header");
        let drawn = chain.draw(&info, Key::new(7));
        let shape = chain.extents(&drawn).to_vec();
        let room = vec![0; chain.bytes(&drawn) + ALIGNED];
        Sample { chain, payload, codec, drawn, shape, room, limits, tools: Tools::default() }
    }

    /// Decodes it and writes the slot.
    pub(crate) fn run(&mut self) {
        let Sample { chain, payload, codec, drawn, shape, room, limits, tools } = self;
        let from = room.as_ptr().align_offset(ALIGNED);
        let length = room.len() - ALIGNED;
        let slot = SlotMut { bytes: &mut room[from..from + length], shape, strides: &[], beside: None };
        chain.run(drawn, &*payload, *codec, limits, tools, slot).expect("a sample");
    }

    /// The lengths of what comes out.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// A payload in memory.
pub(crate) struct InMemory<'a>(pub(crate) &'a [u8]);

impl Ranged for InMemory<'_> {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
        Ok(())
    }
}

/// A picture of the size of a photo and no decoder in front of it: pixels as `--store raw` stores them, drawn by a formula.
#[cfg(feature = "image")]
pub(crate) fn pixels(width: u32, height: u32) -> Vec<u8> {
    let mut stream = Key::new(3).stream();
    let pixels: Vec<u8> =
        (0..width * height * 3).map(|at| ((at / 7) as u8).wrapping_add(stream.below(32) as u8)).collect();
    codec::image::rgb::encode(width, height, &pixels)
}

/// ImageNet's means and deviations.
pub(crate) fn mean_and_std() -> ([f64; 3], [f64; 3]) {
    ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
}

/// A recording of one channel in WAV, 16 bits: a tone that rises, and some noise.
pub(crate) fn wav(rate: u32, samples: u32) -> Vec<u8> {
    let mut stream = Key::new(5).stream();
    let (data, mut out) = (samples * 2, Vec::new());
    out.extend([*b"RIFF", (36 + data).to_le_bytes(), *b"WAVE", *b"fmt ", 16u32.to_le_bytes()].concat());
    out.extend([1u16, 1].map(u16::to_le_bytes).concat());
    out.extend([rate, rate * 2].map(u32::to_le_bytes).concat());
    out.extend([2u16, 16].map(u16::to_le_bytes).concat());
    out.extend([*b"data", data.to_le_bytes()].concat());
    let value = |at: u32| libm::sin(f64::from(at) * (0.05 + f64::from(at) * 1e-6)) * 12_000.0;
    out.extend((0..samples).flat_map(|at| ((value(at) as i16).wrapping_add(stream.below(500) as i16)).to_le_bytes()));
    out
}
