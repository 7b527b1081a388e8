// SPDX-License-Identifier: MIT OR Apache-2.0
//! The picture: what operations cost with Satori and with KVM, one level and nested, as bars on a logarithmic scale.

use std::error::Error;

use anyhow::Result;
use anyhow::anyhow;
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::DrawingArea;
use plotters::drawing::IntoDrawingArea;
use plotters::element::Rectangle;
use plotters::element::Text;
use plotters::style::Color;
use plotters::style::IntoFont;
use plotters::style::RGBColor;
use plotters::style::WHITE;
use plotters::style::text_anchor::HPos;
use plotters::style::text_anchor::Pos;
use plotters::style::text_anchor::VPos;

use crate::bench::figures::Figures;
use crate::bench::figures::Setting;
use crate::bench::operations;
use crate::bench::operations::Group;
use crate::bench::tables;

/// One of two things that stand beside each other, and its colour. Both colours tell apart in grey, too.
const SATORI: RGBColor = RGBColor(0, 95, 135);
const KVM: RGBColor = RGBColor(230, 145, 56);
const INK: RGBColor = RGBColor(30, 30, 30);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Pixels: the picture's width, what an operation takes in height, what stands around them, and room for names.
const WIDTH: u32 = 900;
const ROW: u32 = 40;
const AROUND: u32 = 110;
const NAMES: u32 = 260;
/// From the middle of a row to the far edge of a bar, where the row is 1.
const EDGE: f64 = 0.38;
/// Between a bar and its number, as a factor on the scale.
const GAP: f64 = 1.03;
const FONT: &str = "sans-serif";

/// Bars of one panel: operations, and what they cost with Satori and with KVM.
struct Panel {
    heading: &'static str,
    rows: Vec<(&'static str, [u64; 2])>,
}

/// Draws what was measured with both, as SVG.
///
/// # Errors
/// When nothing was, or it cannot be drawn.
pub fn draw(figures: &Figures) -> Result<String> {
    let panels = [
        panel("One level: instructions, on a logarithmic scale", figures, [Setting::Satori, Setting::Kvm]),
        panel(
            "Nested, with eVMCS: instructions of all levels, on a logarithmic scale",
            figures,
            [Setting::SatoriOnKvm, Setting::KvmOnKvm],
        ),
    ];
    let panels: Vec<Panel> = panels.into_iter().filter(|panel| !panel.rows.is_empty()).collect();
    if panels.is_empty() {
        return Err(anyhow!("nothing was measured both with Satori and with KVM, so there is no picture"));
    }
    let mut svg = String::new();
    {
        let height = panels.iter().map(Panel::height).sum();
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        // An error of the backend lives no longer than the picture.
        draw_all(&area, &panels).map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    Ok(svg)
}

fn panel(heading: &'static str, figures: &Figures, settings: [Setting; 2]) -> Panel {
    let costs = |name| {
        let [satori, kvm] = settings.map(|setting| figures.find(name, setting, 1));
        Some([satori?.instructions, kvm?.instructions])
    };
    let row = |operation: &operations::Operation| Some((operation.words, costs(operation.name)?));
    Panel { heading, rows: operations::of_group(Group::Operation).filter_map(row).collect() }
}

impl Panel {
    /// Where the scale begins, a power of ten that leaves a bar to each cost, and the highest cost.
    fn range(&self) -> (f64, f64) {
        let costs = || self.rows.iter().flat_map(|(_, costs)| costs).map(|cost| (*cost).max(1) as f64);
        let (least, most) = (costs().fold(f64::MAX, f64::min), costs().fold(1.0, f64::max));
        (10_f64.powf((least / 2.0).log10().floor()).max(1.0), most)
    }

    fn height(&self) -> u32 {
        AROUND + ROW * u32::try_from(self.rows.len()).unwrap_or_default()
    }
}

fn draw_all(area: &DrawingArea<SVGBackend<'_>, Shift>, panels: &[Panel]) -> Result<(), Box<dyn Error>> {
    // Pages are white or black; what is written here can be read on both.
    area.fill(&WHITE)?;
    let mut rest = area.clone();
    for panel in panels {
        let (upper, lower) = rest.split_vertically(panel.height());
        draw_panel(&upper, panel)?;
        rest = lower;
    }
    area.present()?;
    Ok(())
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel) -> Result<(), Box<dyn Error>> {
    let rows = panel.rows.len();
    let (least, most) = panel.range();
    let text = |size: u32| (FONT, size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(15)
        .margin_right(40)
        .caption(panel.heading, text(20))
        .x_label_area_size(30)
        .y_label_area_size(NAMES)
        // Room for the number behind the longest bar.
        .build_cartesian_2d((least..most * 4.0).log_scale(), rows as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_label_formatter(&|cost| format!("{cost}"))
        .x_label_style(text(13))
        .draw()?;
    for (index, (words, costs)) in panel.rows.iter().enumerate() {
        let middle = index as f64 + 0.5;
        let (left, y) = chart.backend_coord(&(least, middle));
        let name = text(14).pos(Pos::new(HPos::Right, VPos::Center));
        // Names stand left of the chart, on the picture itself.
        let (x0, y0) = area.get_base_pixel();
        area.draw(&Text::new(*words, (left - x0 - 8, y - y0), name))?;
        for (cost, colour, far, who) in
            [(costs[0], SATORI, middle - EDGE, "Satori"), (costs[1], KVM, middle + EDGE, "KVM")]
        {
            let cost_on_scale = (cost as f64).max(least);
            let bar = Rectangle::new([(least, middle), (cost_on_scale, far)], colour.filled());
            let number = text(12).pos(Pos::new(HPos::Left, VPos::Center));
            let told = format!("{who} {}", tables::count(cost));
            chart.draw_series([bar])?;
            chart.draw_series([Text::new(
                told,
                (cost_on_scale * GAP, f64::midpoint(middle, far)),
                number,
            )])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::made_up;

    #[test]
    fn both_stand_beside_each_other_on_a_background() {
        let svg = draw(&made_up::figures()).unwrap();
        assert!(svg.contains("One level") && svg.contains("Nested"), "{svg}");
        assert!(svg.contains("Satori 200") && svg.contains("KVM 14513"), "{svg}");
        assert!(svg.contains("#FFFFFF"), "{svg}");
        assert!(!svg.contains("mapping"), "what KVM has no figure for has no bar");
    }

    #[test]
    fn with_nothing_to_compare_there_is_no_picture() {
        let error = draw(&Figures::default()).unwrap_err().to_string();
        assert!(error.starts_with("nothing was measured both"), "{error}");
    }
}
