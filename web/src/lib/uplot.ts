// The chart library, a chunk of its own, loaded with the first chart.

import 'uplot/dist/uPlot.min.css';
import uPlot from 'uplot';

export { uPlot };
