//! JPEGs decoded at a half, a quarter or an eighth of their size.
//!
//! Each output pixel is the mean of the 2 x 2, 4 x 4 or 8 x 8 pixels that a full decode would give there. The mean is
//! taken in the frequency domain: it is linear, so it goes into the matrices of the inverse cosine transform (ITU-T
//! T.81, A.3.3), which then has fewer outputs. Chroma stored at half the density simply has its mean taken over fewer
//! samples, so nothing is upsampled.
//!
//! It reads what cameras and libraries write by far the most: sequential Huffman-coded JPEGs of 8 bits, grey or YCbCr,
//! in one scan. Anything else, and any file that breaks the format or ends early, it declines: the full decoder then
//! decides what that file is worth.

use multiversion::multiversion;

/// By how much a JPEG is decoded smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// 1 of 2 x 2 pixels.
    Half,
    /// 1 of 4 x 4 pixels.
    Quarter,
    /// 1 of 8 x 8 pixels.
    Eighth,
}

impl Scale {
    /// The smallest scale at which a side of `from` pixels is still at least `to` long; `None` for the full size.
    pub fn between(from: usize, to: usize) -> Option<Scale> {
        [Scale::Eighth, Scale::Quarter, Scale::Half]
            .into_iter()
            .find(|scale| to.saturating_mul(scale.divisor()) <= from)
    }

    fn divisor(self) -> usize {
        match self {
            Scale::Half => 2,
            Scale::Quarter => 4,
            Scale::Eighth => 8,
        }
    }
}

/// Decodes to RGB into `out`, whose contents don't matter, and gives width and height: those of the file divided by
/// the scale, rounded up. `None` if the file has to be decoded in full.
pub(super) fn decode(bytes: &[u8], scale: Scale, out: &mut Vec<u8>) -> Option<(usize, usize)> {
    let Headers {
        frame,
        components,
        restart_interval,
        data,
    } = Headers::read(bytes)?;
    let mut planes: Vec<Plane> = components
        .iter()
        .map(|component| Plane::new(component, &frame, scale))
        .collect();
    let (width, height) = (
        frame.width.div_ceil(scale.divisor()),
        frame.height.div_ceil(scale.divisor()),
    );
    out.resize(width * height * 3, 0);
    let mut bits = Bits::new(data);
    let mut done = 0;
    let strip = frame.vertical * BLOCK / scale.divisor();
    for rows in out.chunks_mut(width * 3 * strip) {
        for mcu in 0..frame.mcus_across {
            if restart_interval > 0 && done > 0 && done % restart_interval == 0 {
                bits.restart(done / restart_interval - 1)?;
                planes.iter_mut().for_each(|plane| plane.predicted = 0);
            }
            for (plane, component) in planes.iter_mut().zip(&components) {
                plane.decode_mcu(component, mcu, &mut bits)?;
            }
            done += 1;
        }
        if bits.overrun() {
            return None;
        }
        for (y, row) in rows.chunks_exact_mut(width * 3).enumerate() {
            match &planes[..] {
                [grey] => spread(grey.row(y), row),
                [luma, blue, red] => to_rgb(luma.row(y), blue.row(y), red.row(y), row),
                _ => return None,
            }
        }
    }
    Some((width, height))
}

// ---- headers ------------------------------------------------------------------------------------------------------

/// Samples on a side of a block.
const BLOCK: usize = 8;

/// What stands before the compressed data.
struct Headers<'a> {
    frame: Frame,
    components: Vec<Component>,
    /// Minimum coded units between restart markers; 0 if there are none.
    restart_interval: usize,
    data: &'a [u8],
}

struct Frame {
    width: usize,
    height: usize,
    /// Blocks of luma in a minimum coded unit, from left to right and from top to bottom: 1 or 2.
    horizontal: usize,
    vertical: usize,
    mcus_across: usize,
}

struct Component {
    id: u8,
    horizontal: usize,
    vertical: usize,
    quantiser_slot: u8,
    /// Steps of the coefficients in the order in which they are stored.
    quantiser: [f32; 64],
    dc: Huffman,
    ac: Huffman,
}

/// Reads numbers off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The code of the next marker and, where it has one, its segment.
    fn segment(&mut self) -> Option<(u8, Reader<'a>)> {
        if self.u8()? != 0xff {
            return None;
        }
        let mut code = self.u8()?;
        while code == 0xff {
            code = self.u8()?;
        }
        if matches!(code, 0x00 | 0x01 | 0xd0..=0xd9) {
            return Some((code, Reader(&[])));
        }
        let length = usize::from(self.u16()?).checked_sub(2)?;
        Some((code, Reader(self.take(length)?)))
    }
}

impl<'a> Headers<'a> {
    fn read(bytes: &'a [u8]) -> Option<Headers<'a>> {
        let mut file = Reader(bytes);
        let mut quantisers = [None; 4];
        let mut tables: [[Option<Huffman>; 4]; 2] = Default::default();
        let mut restart_interval = 0;
        let mut found = None;
        if file.segment()?.0 != 0xd8 {
            return None;
        }
        loop {
            let (code, mut segment) = file.segment()?;
            match code {
                0xc0 | 0xc1 if found.is_none() => found = Some(frame(&mut segment)?),
                0xc4 => huffman_tables(&mut segment, &mut tables)?,
                0xdb => quantiser_tables(&mut segment, &mut quantisers)?,
                0xdd => restart_interval = usize::from(segment.u16()?),
                0xda => {
                    let (frame, mut components) = found?;
                    scan(&mut segment, &mut components, &quantisers, &tables)?;
                    return Some(Headers {
                        frame,
                        components,
                        restart_interval,
                        data: file.0,
                    });
                }
                // Other kinds of frame, heights that come later, and the end.
                0xc0..=0xc3 | 0xc5..=0xcf | 0xd8 | 0xd9 | 0xdc => return None,
                _ => {}
            }
        }
    }
}

fn frame(segment: &mut Reader<'_>) -> Option<(Frame, Vec<Component>)> {
    let (precision, height, width) = (segment.u8()?, segment.u16()?, segment.u16()?);
    if precision != 8 || height == 0 || width == 0 {
        return None;
    }
    let count = segment.u8()?;
    let mut components = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (id, sampling, quantiser_slot) = (segment.u8()?, segment.u8()?, segment.u8()?);
        components.push(Component {
            id,
            horizontal: usize::from(sampling >> 4),
            vertical: usize::from(sampling & 15),
            quantiser_slot,
            quantiser: [0.0; 64],
            dc: Huffman::default(),
            ac: Huffman::default(),
        });
    }
    match &mut components[..] {
        // A scan of one component has one block in each unit, whatever its sampling.
        [grey] => (grey.horizontal, grey.vertical) = (1, 1),
        [luma, chroma @ ..] if chroma.len() == 2 => {
            let single = chroma.iter().all(|c| (c.horizontal, c.vertical) == (1, 1));
            if !single || !(1..=2).contains(&luma.horizontal) || !(1..=2).contains(&luma.vertical) {
                return None;
            }
        }
        _ => return None,
    }
    let luma = components.first()?;
    let (width, height) = (usize::from(width), usize::from(height));
    let frame = Frame {
        width,
        height,
        horizontal: luma.horizontal,
        vertical: luma.vertical,
        mcus_across: width.div_ceil(BLOCK * luma.horizontal),
    };
    Some((frame, components))
}

fn quantiser_tables(segment: &mut Reader<'_>, quantisers: &mut [Option<[f32; 64]>; 4]) -> Option<()> {
    while !segment.0.is_empty() {
        let kind = segment.u8()?;
        let mut steps = [0.0; 64];
        for step in &mut steps {
            *step = match kind >> 4 {
                0 => f32::from(segment.u8()?),
                1 => f32::from(segment.u16()?),
                _ => return None,
            };
        }
        *quantisers.get_mut(usize::from(kind & 15))? = Some(steps);
    }
    Some(())
}

fn huffman_tables(segment: &mut Reader<'_>, tables: &mut [[Option<Huffman>; 4]; 2]) -> Option<()> {
    while !segment.0.is_empty() {
        let kind = segment.u8()?;
        let counts = segment.take(16)?.first_chunk::<16>()?;
        let symbols = segment.take(counts.iter().map(|&n| usize::from(n)).sum())?;
        let end_of_block = if kind >> 4 == 0 { 0 } else { END_OF_BLOCK };
        *tables
            .get_mut(usize::from(kind >> 4))?
            .get_mut(usize::from(kind & 15))? = Some(Huffman::new(counts, symbols, end_of_block)?);
    }
    Some(())
}

/// Reads the header of a scan, which must hold all components in order and whole.
fn scan(
    segment: &mut Reader<'_>,
    components: &mut [Component],
    quantisers: &[Option<[f32; 64]>; 4],
    [dc, ac]: &[[Option<Huffman>; 4]; 2],
) -> Option<()> {
    if usize::from(segment.u8()?) != components.len() {
        return None;
    }
    for component in components {
        let (id, slots) = (segment.u8()?, segment.u8()?);
        if id != component.id {
            return None;
        }
        component.quantiser = (*quantisers.get(usize::from(component.quantiser_slot))?)?;
        component.dc = dc.get(usize::from(slots >> 4))?.clone()?;
        component.ac = ac.get(usize::from(slots & 15))?.clone()?;
    }
    let whole = segment.take(3)? == [0, 63, 0];
    whole.then_some(())
}

// ---- entropy-coded data -------------------------------------------------------------------------------------------

/// Bits by which codes are looked up.
const LOOK: u32 = 10;
/// Longer than any run of zeros.
const END_OF_BLOCK: u32 = 100;
/// The entry holds the size of a number whose bits follow, not the number.
const NUMBER_FOLLOWS: u32 = 0x40;
/// The code is longer than [`LOOK`] bits, or there is none.
const LONG: u32 = 0x80;

/// A Huffman code. An entry for every possible next [`LOOK`] bits: in the lowest byte how many bits it takes (and the
/// flags above), in the next the zeros before the number, above it the number, signed.
#[derive(Clone)]
struct Huffman {
    entries: Box<[u32; 1 << LOOK]>,
    /// For each length above `LOOK`: the code after the last one, in 16 bits, and what to add to get a symbol's index.
    long: [(u32, i32); 17],
    symbols: Vec<u8>,
    end_of_block: u32,
}

impl Default for Huffman {
    fn default() -> Huffman {
        Huffman {
            entries: Box::new([LONG; 1 << LOOK]),
            long: [(0, 0); 17],
            symbols: Vec::new(),
            end_of_block: 0,
        }
    }
}

impl Huffman {
    /// `counts` of codes by length, and their symbols; `end_of_block` zeros are what symbol 0 stands for. `None` if
    /// there are more codes than bits can tell apart.
    fn new(counts: &[u8; 16], symbols: &[u8], end_of_block: u32) -> Option<Huffman> {
        let mut table = Huffman {
            symbols: symbols.to_vec(),
            end_of_block,
            ..Huffman::default()
        };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            for _ in 0..count {
                if length <= LOOK {
                    let at = (code << (LOOK - length)) as usize;
                    let entry = table.entry(length, *symbols.get(index)?);
                    let entries = table.entries.get_mut(at..at + (1 << (LOOK - length)))?;
                    for (below, slot) in (0u32..).zip(entries) {
                        *slot = entry(below);
                    }
                }
                code += 1;
                index += 1;
            }
            if code > 1 << length {
                return None;
            }
            if length > LOOK {
                table.long[length as usize] = (code << (16 - length), index as i32 - code as i32);
            }
            code <<= 1;
        }
        Some(table)
    }

    /// The entry of a code of `length` bits, by the bits below it that are looked up as well.
    fn entry(&self, length: u32, symbol: u8) -> impl Fn(u32) -> u32 + use<> {
        let (run, size) = self.meaning(symbol);
        let rest = LOOK - length;
        move |below| {
            if size <= rest {
                let value = extended(below >> (rest - size), size);
                (value as u32) << 16 | run << 8 | (length + size)
            } else {
                size << 16 | run << 8 | NUMBER_FOLLOWS | length
            }
        }
    }

    /// Zeros before a number, and the size of the number in bits.
    fn meaning(&self, symbol: u8) -> (u32, u32) {
        if symbol == 0 {
            (self.end_of_block, 0)
        } else {
            (u32::from(symbol >> 4), u32::from(symbol & 15))
        }
    }
}

/// The number that `size` bits stand for (T.81, F.2.2.1).
fn extended(bits: u32, size: u32) -> i32 {
    let negative = size > 0 && bits >> (size - 1) == 0;
    bits as i32 - if negative { (1 << size) - 1 } else { 0 }
}

/// Bits of the compressed data, without the zeros stuffed after every 0xff.
#[derive(Clone, Copy)]
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, from the highest on. Bits below `count` are those that `at` leads to, or 0.
    buffer: u64,
    count: u32,
    /// How many of them were never there: the data end or a marker comes.
    missing: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Bits<'a> {
        Bits {
            data,
            at: 0,
            buffer: 0,
            count: 0,
            missing: 0,
        }
    }

    /// Sees to it that there are 32 bits, enough for the longest code and its number.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(next) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*next);
            let stuffed = (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if stuffed == 0 {
                self.buffer |= word >> self.count;
                self.at += ((63 - self.count) >> 3) as usize;
                self.count |= 56;
                return;
            }
        }
        self.fill_by_byte();
    }

    #[cold]
    fn fill_by_byte(&mut self) {
        while self.count <= 56 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (None | Some(0xff), _) => {
                    self.missing += 8;
                    0
                }
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Takes `length` bits, 0 to 32, which must be there.
    #[inline(always)]
    fn take(&mut self, length: u32) -> u32 {
        let bits = (self.buffer >> 1 >> (63 - length)) as u32;
        self.buffer <<= length;
        self.count -= length;
        bits
    }

    /// The zeros before the next number, and the number.
    #[inline(always)]
    fn symbol(&mut self, table: &Huffman) -> Option<(u32, i32)> {
        self.fill();
        let entry = table.entries[(self.buffer >> (64 - LOOK)) as usize];
        if entry & (NUMBER_FOLLOWS | LONG) == 0 {
            self.take(entry & 0x3f);
            return Some((entry >> 8 & 0xff, entry as i32 >> 16));
        }
        self.rare_symbol(table, entry)
    }

    fn rare_symbol(&mut self, table: &Huffman, entry: u32) -> Option<(u32, i32)> {
        let (run, size) = if entry & LONG == 0 {
            self.take(entry & 0x3f);
            (entry >> 8 & 0xff, entry >> 16)
        } else {
            let next = (self.buffer >> 48) as u32;
            let length = (LOOK + 1..=16).find(|&length| next < table.long[length as usize].0)?;
            let index = (next >> (16 - length)) as i32 + table.long[length as usize].1;
            self.take(length);
            table.meaning(*table.symbols.get(usize::try_from(index).ok()?)?)
        };
        let bits = self.take(size);
        Some((run, extended(bits, size)))
    }

    /// Passes the restart marker with this number, which must come next.
    fn restart(&mut self, number: usize) -> Option<()> {
        // What is left of the last byte; anything more is missing, or should not be there.
        if self.overrun() || self.count - self.missing >= 8 {
            return None;
        }
        let marker = self.data.get(self.at..self.at + 2)?;
        if marker != [0xff, 0xd0 + (number % 8) as u8] {
            return None;
        }
        *self = Bits {
            at: self.at + 2,
            ..Bits::new(self.data)
        };
        Some(())
    }

    /// Whether bits were taken that are not there.
    fn overrun(&self) -> bool {
        self.count < self.missing
    }
}

/// Row and column, as 8 row + column, of the coefficients in the order in which they are stored (T.81, figure A.6).
const ZIGZAG: [u8; 64] = zigzag();

const fn zigzag() -> [u8; 64] {
    let mut order = [0; 64];
    let (mut row, mut column, mut k) = (0u8, 0u8, 0);
    while k < 64 {
        order[k] = row * 8 + column;
        // Even diagonals lead up, odd ones down.
        if (row + column).is_multiple_of(2) {
            if column == 7 {
                row += 1;
            } else {
                column += 1;
                row = row.saturating_sub(1);
            }
        } else if row == 7 {
            column += 1;
        } else {
            row += 1;
            column = column.saturating_sub(1);
        }
        k += 1;
    }
    order
}

// ---- blocks to samples --------------------------------------------------------------------------------------------

/// One component of one row of minimum coded units, at the size at which it comes out.
struct Plane {
    /// Less 128, as they are stored.
    samples: Vec<f32>,
    stride: usize,
    /// Samples that a block gives, from left to right and from top to bottom.
    columns: usize,
    rows: usize,
    /// By frequency, then column.
    horizontal: Matrix,
    /// By row, then frequency.
    vertical: Matrix,
    /// A block between the two passes of the transform.
    mixed: Matrix,
    /// The mean of the block before, in quantiser steps.
    predicted: i32,
}

impl Plane {
    fn new(component: &Component, frame: &Frame, scale: Scale) -> Plane {
        // Where a component has fewer blocks in a unit than luma, each gives more samples.
        let columns = BLOCK / scale.divisor() * frame.horizontal / component.horizontal;
        let rows = BLOCK / scale.divisor() * frame.vertical / component.vertical;
        let stride = frame.mcus_across * component.horizontal * columns;
        Plane {
            samples: vec![0.0; stride * component.vertical * rows],
            stride,
            columns,
            rows,
            horizontal: means(columns),
            vertical: transposed(means(rows)),
            mixed: [[0.0; 8]; 8],
            predicted: 0,
        }
    }

    fn row(&self, y: usize) -> &[f32] {
        self.samples
            .get(y * self.stride..(y + 1) * self.stride)
            .unwrap_or_default()
    }

    /// Decodes the blocks of minimum coded unit number `mcu` of the row.
    fn decode_mcu(&mut self, component: &Component, mcu: usize, bits: &mut Bits<'_>) -> Option<()> {
        for down in 0..component.vertical {
            for across in 0..component.horizontal {
                let mut block = [0.0; 64];
                let last = self.read_block(component, bits, &mut block)?;
                let column = (mcu * component.horizontal + across) * self.columns;
                let at = down * self.rows * self.stride + column;
                // Coefficients up to `last` lie on as many diagonals, so in as many rows and columns.
                let place = usize::from(ZIGZAG[last & 63]);
                let extent = place / 8 + place % 8 + 1;
                match self.columns {
                    8 => self.render::<8>(at, &block, extent),
                    4 => self.render::<4>(at, &block, extent),
                    2 => self.render::<2>(at, &block, extent),
                    // The mean of all samples is that of the first coefficient alone.
                    _ if self.rows == 1 => self.render::<1>(at, &block, 1),
                    _ => self.render::<1>(at, &block, extent),
                }
            }
        }
        Some(())
    }

    /// Reads a block's coefficients times their quantiser steps; gives the place of the last one.
    #[inline(always)]
    fn read_block(
        &mut self,
        component: &Component,
        bits: &mut Bits<'_>,
        block: &mut [f32; 64],
    ) -> Option<usize> {
        // A copy lives in registers.
        let mut own = *bits;
        let (_, difference) = own.symbol(&component.dc)?;
        self.predicted = self.predicted.wrapping_add(difference);
        block[0] = self.predicted as f32 * component.quantiser[0];
        let (mut at, mut last) = (1, 0);
        while at < 64 {
            let (run, value) = own.symbol(&component.ac)?;
            at += run as usize;
            if at >= 64 {
                if run != END_OF_BLOCK {
                    return None;
                }
                break;
            }
            block[usize::from(ZIGZAG[at] & 63)] = value as f32 * component.quantiser[at];
            last = at;
            at += 1;
        }
        *bits = own;
        Some(last)
    }

    /// Makes a block's samples, `WIDTH` in each row, the first of which is number `at`. Only coefficients in the first
    /// `extent` rows and columns differ from 0.
    #[inline(always)]
    fn render<const WIDTH: usize>(&mut self, at: usize, block: &[f32; 64], extent: usize) {
        let rows = self.samples[at..].chunks_mut(self.stride).take(self.rows);
        if extent == 1 {
            for row in rows {
                row[..WIDTH].copy_from_slice(&[block[0] * 0.125; WIDTH]);
            }
            return;
        }
        // Lengths known in advance make loops without branches.
        if extent <= 4 {
            mix_rows::<4>(&self.vertical[..self.rows], block, &mut self.mixed);
            for (mixed, row) in self.mixed.iter().zip(rows) {
                mix_columns::<WIDTH, 4>(&self.horizontal, mixed, row);
            }
        } else {
            mix_rows::<8>(&self.vertical[..self.rows], block, &mut self.mixed);
            for (mixed, row) in self.mixed.iter().zip(rows) {
                mix_columns::<WIDTH, 8>(&self.horizontal, mixed, row);
            }
        }
    }
}

type Matrix = [[f32; 8]; 8];

/// The transform from top to bottom, of the first `EXTENT` rows of a block. Not a part of its caller, and so through
/// memory, because the compiler makes vectors of what is stored.
#[inline(never)]
fn mix_rows<const EXTENT: usize>(weights: &[[f32; 8]], block: &[f32; 64], out: &mut Matrix) {
    let (rows, _) = block.as_chunks::<8>();
    for (weights, out) in weights.iter().zip(out) {
        let mut mixed = [0.0; 8];
        for (&weight, row) in weights.iter().zip(rows).take(EXTENT) {
            mixed = std::array::from_fn(|i| row[i].mul_add(weight, mixed[i]));
        }
        *out = mixed;
    }
}

/// The transform from left to right, of the first `EXTENT` numbers of a row.
#[inline(always)]
fn mix_columns<const WIDTH: usize, const EXTENT: usize>(weights: &Matrix, mixed: &[f32; 8], out: &mut [f32]) {
    let mut samples = [0.0; WIDTH];
    for (weights, &mixed) in weights.iter().zip(mixed).take(EXTENT) {
        samples = std::array::from_fn(|i| weights[i].mul_add(mixed, samples[i]));
    }
    out[..WIDTH].copy_from_slice(&samples);
}

/// The inverse cosine transform on one axis, with the mean taken of every 8 / `count` neighbouring samples: what each
/// frequency adds to each of the `count` samples that are left.
fn means(count: usize) -> Matrix {
    let merged = BLOCK / count;
    std::array::from_fn(|frequency| {
        std::array::from_fn(|sample| {
            let norm = if frequency == 0 {
                std::f64::consts::FRAC_1_SQRT_2
            } else {
                1.0
            };
            let wave = |x: usize| {
                ((2 * x + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos() * norm / 2.0
            };
            let sum: f64 = (0..merged).map(|i| wave(sample % count * merged + i)).sum();
            (sum / merged as f64) as f32
        })
    })
}

fn transposed(matrix: Matrix) -> Matrix {
    std::array::from_fn(|row| std::array::from_fn(|column| matrix[column][row]))
}

// ---- samples to pixels --------------------------------------------------------------------------------------------

fn spread(grey: &[f32], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<3>();
    for (pixel, &value) in out.iter_mut().zip(grey) {
        *pixel = [(whole(value) + 128) as u8; 3];
    }
}

/// JFIF's YCbCr to RGB, in 1/65536.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn to_rgb(luma: &[f32], blue: &[f32], red: &[f32], out: &mut [u8]) {
    const RUN: usize = 128;
    let (out, _) = out.as_chunks_mut::<3>();
    let mut planes = [[0u8; RUN]; 3];
    let runs = luma.chunks(RUN).zip(blue.chunks(RUN)).zip(red.chunks(RUN));
    for (out, ((luma, blue), red)) in out.chunks_mut(RUN).zip(runs) {
        let [r, g, b] = &mut planes;
        let channels = r.iter_mut().zip(&mut *g).zip(&mut *b);
        for (((r, g), b), ((&y, &cb), &cr)) in channels.zip(luma.iter().zip(blue).zip(red)) {
            let (y, cb, cr) = (whole(y) + 128, whole(cb), whole(cr));
            let channel = |chroma: i32| (y + ((chroma + 32_768) >> 16)).clamp(0, 255) as u8;
            *r = channel(91_881 * cr);
            *g = channel(-22_554 * cb - 46_802 * cr);
            *b = channel(116_130 * cb);
        }
        for (pixel, ((&r, &g), &b)) in out.iter_mut().zip(r.iter().zip(&*g).zip(&*b)) {
            *pixel = [r, g, b];
        }
    }
}

/// The nearest integer of -128..=127. Adding 1.5 * 2^23 leaves it in the low bits, which a cast would do more slowly.
#[inline(always)]
fn whole(sample: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (sample.clamp(-128.0, 127.0) + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zigzag_goes_as_the_standard_draws_it() {
        let first = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32];
        assert_eq!(ZIGZAG[..11], first);
        assert_eq!(ZIGZAG[61..], [55, 62, 63]);
        let mut all = ZIGZAG;
        all.sort_unstable();
        assert!((0..64).eq(all.map(usize::from)));
    }

    #[test]
    fn the_scale_is_the_smallest_that_is_large_enough() {
        let cases = [
            (1280, 640, Some(Scale::Half)),
            (1279, 640, None),
            (2559, 640, Some(Scale::Half)),
            (2560, 640, Some(Scale::Quarter)),
            (20_000, 640, Some(Scale::Eighth)),
            (1, 640, None),
            (640, usize::MAX, None),
        ];
        for (from, to, expected) in cases {
            assert_eq!(Scale::between(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn merged_samples_are_the_means_of_the_whole_transform() {
        let whole = means(8);
        for count in [4, 2, 1] {
            let merged = 8 / count;
            for (frequency, (few, all)) in means(count).iter().zip(whole).enumerate() {
                for (sample, part) in all.chunks(merged).enumerate() {
                    let mean = part.iter().sum::<f32>() / merged as f32;
                    assert!(
                        (few[sample] - mean).abs() < 1e-6,
                        "{count} samples, frequency {frequency}"
                    );
                }
            }
        }
    }

    #[test]
    fn codes_that_bits_cannot_tell_apart_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[1, 2, 3], END_OF_BLOCK).is_none());
        counts[0] = 2;
        assert!(Huffman::new(&counts, &[1, 2], END_OF_BLOCK).is_some());
    }

    #[test]
    fn numbers_are_extended_as_the_standard_says() {
        let cases = [
            (0, 0, 0),
            (0, 1, -1),
            (1, 1, 1),
            (0, 3, -7),
            (3, 3, -4),
            (4, 3, 4),
            (7, 3, 7),
        ];
        for (bits, size, expected) in cases {
            assert_eq!(extended(bits, size), expected, "{bits} in {size} bits");
        }
    }
}
