// PortHandover: whether an engine hears its port alone, and what it may say to frames that are not its connections'.
//
// Where a port lets two processes have it at once, a server and its successor, each engine gets a copy of every frame,
// and has connections that the other does not know. They share no state; so each keeps silent where it could hurt what
// is the other's:
//
//                                                    NONE       ANSWERS     SILENT
//   a segment of a connection of its own             handled    handled     handled
//   in SYN-RECEIVED, the ACK of another SYN-ACK      RST        forgotten   forgotten
//   SYN to a listener                                answered   answered    -
//   SYN to another port                              RST        RST         -
//   SYN that ends a TIME-WAIT of its own             answered   answered    TIME-WAIT is forgotten
//   ACK of a SYN cookie of its own                   accepted   accepted    accepted, on ports that it listened on
//   any other segment of no connection of its own    RST        -           -
//   ARP, neighbour discovery                         answered   answered    learnt from
//   echo request                                     answered   answered    -
//   what is the kernel's, on a port shared with one  handed on  handed on   -
//
// Nothing is lost if the one that leaves goes from NONE to ANSWERS before the other goes from SILENT to ANSWERS, and
// from there to SILENT after it; and if the other goes to NONE once it has ended. While both answer, a SYN is answered
// twice: the client takes one SYN-ACK, and by its ACK the engine of the other one forgets.
#pragma once

#include <cstdint>

namespace penstock {

enum class PortHandover : uint8_t { NONE, ANSWERS, SILENT };

}  // namespace penstock
