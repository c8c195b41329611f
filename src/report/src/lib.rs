//! What a training run says about itself: one HTML file, one `results.csv`, TensorBoard's events, and boxes drawn on images.
//!
//! [`render`] turns a [`RunReport`] into a complete page: no script, no network, no external font, every image
//! inlined, so that the file can be mailed, archived or printed and still be read in ten years. The page is
//! rendered from whatever is there: sections without data are left out, numbers that are not finite are shown as
//! "–" and break a curve instead of bending it, and every text that comes from outside is escaped.
//!
//! The room is pure: data in, text or pixels out. It opens no file and reads no clock. The columns of `results.csv`
//! are those of the reference package (see [`results`]).

mod chart;
mod confusion;
mod contact;
mod draw;
pub mod events;
mod exact;
mod font;
mod html;
mod labels;
mod model;
mod number;
mod page;
mod palette;
mod picture;
mod quality;
pub mod results;
mod scale;
mod sheet;
mod training;
mod verdict;

pub use confusion::{Confusion, ConfusionError};
pub use contact::ContactSheet;
pub use draw::draw_boxes;
pub use html::Esc;
pub use labels::{LabelStats, Split};
pub use model::{
    BoundingBox, ClassRow, Curve, EpochRow, Fact, LOSS_NAMES, Progress, RunReport, Scores, SheetImage,
};
pub use palette::{Color, ColorError, class_color};
pub use picture::{Picture, PictureError};
pub use results::{parse_results, results_csv};

/// The report as one HTML page, complete in itself.
#[must_use]
pub fn render(report: &RunReport) -> String {
    page::Page(report).to_string()
}
