// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exits over time, from one dump to the next, as an SVG.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::error::Error;

use anyhow::Result;
use anyhow::anyhow;
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::drawing::IntoDrawingArea;
use plotters::element::PathElement;
use plotters::series::LineSeries;
use plotters::style::BLACK;
use plotters::style::Color;
use plotters::style::Palette;
use plotters::style::Palette99;
use plotters::style::WHITE;

use super::dump::Dump;

const SIZE: (u32, u32) = (1000, 500);
/// Lines that one can tell apart; the busiest are shown.
const LINES: usize = 8;

/// One line of the picture: a vCPU's exits for one reason.
struct Series {
    name: String,
    /// Seconds, and exits a second up to then.
    points: Vec<(f64, f64)>,
}

/// The picture of at least two dumps.
///
/// # Errors
/// When it cannot be drawn.
pub fn draw(dumps: &[Dump]) -> Result<String> {
    let series = series(dumps);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let drawn = draw_on(&area, dumps, &series);
        // An error of the backend lives no longer than the picture.
        drawn.map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    Ok(svg)
}

fn draw_on(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    dumps: &[Dump],
    series: &[Series],
) -> Result<(), Box<dyn Error>> {
    let first = dumps.first().map_or(0.0, |dump| dump.seconds);
    let last = dumps.last().map_or(0.0, |dump| dump.seconds).max(first + 1e-6);
    let rates = series.iter().flat_map(|series| &series.points).map(|&(_, rate)| rate);
    let highest = rates.fold(1.0, f64::max);
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(20)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(first..last, 0.0..highest * 1.05)?;
    chart.configure_mesh().x_desc("seconds").y_desc("exits a second").draw()?;
    for (index, Series { name, points }) in series.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

/// The busiest, by what they counted in all.
fn series(dumps: &[Dump]) -> Vec<Series> {
    let mut totals: BTreeMap<(&str, u32, &str), u64> = BTreeMap::new();
    for exits in dumps.iter().flat_map(|dump| &dump.exits) {
        let total = totals.entry((&exits.vm, exits.vcpu, &exits.reason)).or_default();
        *total = (*total).max(exits.count);
    }
    let mut busiest: Vec<_> = totals.into_iter().collect();
    busiest.sort_by_key(|&(_, total)| Reverse(total));
    busiest.truncate(LINES);
    let line = |(vm, vcpu, reason)| {
        let vcpu_name = if vcpu == 0 { String::new() } else { format!("/{vcpu}") };
        let rates = dumps
            .windows(2)
            .filter_map(|pair| Some((pair[1].seconds, pair[1].rate(vm, vcpu, reason, Some(&pair[0]))?)));
        let mut points: Vec<_> = rates.collect();
        // The first stretch has a beginning too.
        if let (Some(dump), Some(&(_, rate))) = (dumps.first(), points.first()) {
            points.insert(0, (dump.seconds, rate));
        }
        Series { name: format!("{vm}{vcpu_name} {reason}"), points }
    };
    busiest.into_iter().map(|(key, _)| line(key)).collect()
}
