// A vehicle of VDA 5050 and the fleet control that gives it orders, both from vda-5050-lib, which was not written here.
//
//   The test installs the library below the target folder; by hand: npm install --prefix DIR, then NODE_PATH=DIR/node_modules.
//   node e2e/outside/vda5050/vehicle.js 127.0.0.1:1883 v-9
//
// The vehicle begins at `dock` on the map `yard`. It obeys words on its standard input: `order` drives it to `gate`, 40 m away;
// `stop` has it say goodbye. It ends with its standard input, and then without a goodbye: the broker publishes its last will.

"use strict";

const readline = require("node:readline");
const { AgvController, MasterController, Topic, VirtualAgvAdapter } = require("vda-5050-lib");

const [, , broker, serialNumber] = process.argv;
if (!broker || !serialNumber) {
    console.error("usage: vehicle.js HOST:PORT SERIAL");
    process.exit(2);
}

const id = { manufacturer: "acme", serialNumber };
// 2.0.0 is the newest that the library knows; 2.1 only adds to it.
const client = { interfaceName: "uagv", transport: { brokerUrl: `mqtt://${broker}` }, vdaVersion: "2.0.0" };

const dock = { mapId: "yard", x: 2, y: 1, theta: 0, lastNodeId: "dock" };
const vehicle = new AgvController(
    id,
    client,
    { agvAdapterType: VirtualAgvAdapter, publishStateInterval: 500 },
    { initialPosition: dock, initialBatteryCharge: 80, batteryMaxReach: 20000, vehicleSpeed: 20 },
);
const fleet = new MasterController(client, {});

const factsheet = {
    typeSpecification: {
        seriesName: "virtual", agvKinematic: "DIFF", agvClass: "CARRIER", maxLoadMass: 30000,
        localizationTypes: ["NATURAL"], navigationTypes: ["AUTONOMOUS"],
    },
    physicalParameters: {
        speedMin: 0, speedMax: 20, accelerationMax: 1, decelerationMax: 1,
        heightMin: 1, heightMax: 3, width: 3, length: 14,
    },
    protocolLimits: { maxStringLens: {}, maxArrayLens: {}, timing: { minOrderInterval: 1, minStateInterval: 0.5 } },
    protocolFeatures: { optionalParameters: [], agvActions: [] },
    agvGeometry: {},
    loadSpecification: {},
    vehicleConfig: { versions: [{ key: "vda-5050-lib", value: "1.4.0" }, { key: "adapter", value: "virtual" }] },
};

const node = (nodeId, sequenceId, x, y) => ({
    nodeId, sequenceId, released: true, actions: [],
    nodePosition: { mapId: "yard", x, y, allowedDeviationXY: 1, allowedDeviationTheta: 3.1 },
});
const order = {
    orderId: "order-1",
    orderUpdateId: 0,
    nodes: [node("dock", 0, 2, 1), node("gate", 2, 42, 1)],
    edges: [{ edgeId: "way", sequenceId: 1, released: true, startNodeId: "dock", endNodeId: "gate", actions: [] }],
};

async function main() {
    await vehicle.start();
    await vehicle.publish(Topic.Factsheet, factsheet, { retainMessage: true });
    await fleet.start();
    console.log("ready");
    for await (const word of readline.createInterface({ input: process.stdin })) {
        if (word === "order") {
            await fleet.assignOrder(id, order, {
                onOrderProcessed: (error) => console.log(error ? `refused ${JSON.stringify(error)}` : "driven"),
            });
        } else if (word === "stop") {
            await vehicle.stop();
            console.log("stopped");
        }
    }
    process.exit(0);
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
