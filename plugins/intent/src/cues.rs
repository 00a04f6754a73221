//! The words for what people want, and the phrases that give it away. Written for this analyzer.

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Something is wrong.
    Complaint,
    /// Wants to know.
    Question,
    /// Wants something done.
    Request,
    /// Has an idea.
    Suggestion,
    /// Likes it.
    Praise,
    /// Is grateful.
    Thanks,
    /// Wants to buy.
    Purchase,
    /// Wants to leave.
    Churn,
    /// Wants a job.
    Application,
    /// None of these.
    Other,
}

impl Intent {
    /// In the order of the vocabulary.
    pub const ALL: [Intent; 10] = [
        Intent::Complaint, Intent::Question, Intent::Request, Intent::Suggestion, Intent::Praise, Intent::Thanks, Intent::Purchase, Intent::Churn,
        Intent::Application, Intent::Other,
    ];

    /// As annotations say it.
    pub fn word(self) -> &'static str {
        match self {
            Intent::Complaint => "complaint",
            Intent::Question => "question",
            Intent::Request => "request",
            Intent::Suggestion => "suggestion",
            Intent::Praise => "praise",
            Intent::Thanks => "thanks",
            Intent::Purchase => "purchase",
            Intent::Churn => "churn",
            Intent::Application => "application",
            Intent::Other => "other",
        }
    }
}

use Intent::{Application, Churn, Complaint, Praise, Purchase, Question, Request, Suggestion, Thanks};

/// Lower case, spaces where a word must begin or end.
pub(crate) const CUES: &[(&str, Intent, f32)] = &[
    (" vergogn", Complaint, 1.8), (" pessim", Complaint, 1.5), (" schifo", Complaint, 1.6), (" truff", Complaint, 1.8), (" ladri", Complaint, 1.6),
    (" reclam", Complaint, 1.6), (" lament", Complaint, 1.2), (" inaccettabil", Complaint, 1.6), (" scandal", Complaint, 1.5), (" non funziona", Complaint, 1.5),
    (" nessuno risponde", Complaint, 1.4), (" nessuno mi risponde", Complaint, 1.4), (" non risponde", Complaint, 1.2), (" rott", Complaint, 1.0),
    (" guast", Complaint, 1.2), (" due volte", Complaint, 0.7), (" doppi", Complaint, 0.5), (" in ritardo", Complaint, 1.1), (" non è arrivat", Complaint, 1.3),
    (" non e' arrivat", Complaint, 1.3), (" mai arrivat", Complaint, 1.3), (" disserviz", Complaint, 1.5), (" delus", Complaint, 1.2), (" deludent", Complaint, 1.2),
    (" arrabbiat", Complaint, 1.2), (" stufo", Complaint, 1.2), (" stufa di", Complaint, 1.2), (" sbagliat", Complaint, 0.9), (" ancora niente", Complaint, 1.2),
    (" addebit", Complaint, 0.5), (" incompetent", Complaint, 1.5), (" maleducat", Complaint, 1.5), (" da settimane", Complaint, 0.6), (" da giorni", Complaint, 0.6),
    (" complain", Complaint, 1.5), (" terrible", Complaint, 1.4), (" awful", Complaint, 1.4), (" worst", Complaint, 1.5), (" broken", Complaint, 1.2),
    (" doesn't work", Complaint, 1.4), (" does not work", Complaint, 1.4), (" not working", Complaint, 1.4), (" nobody answers", Complaint, 1.3),
    (" no one answers", Complaint, 1.3), (" never came", Complaint, 1.3), (" never arrived", Complaint, 1.3), (" still waiting", Complaint, 1.2),
    (" charged twice", Complaint, 1.6), (" twice", Complaint, 0.4), (" disappoint", Complaint, 1.2), (" unacceptable", Complaint, 1.6), (" ridiculous", Complaint, 1.2),
    (" scam", Complaint, 1.6), (" refund", Complaint, 0.8), (" rude", Complaint, 1.3), (" disgrace", Complaint, 1.5), (" useless", Complaint, 1.3),
    (" late again", Complaint, 1.2), (" fed up", Complaint, 1.4), (" shame", Complaint, 1.2), (" rimbors", Complaint, 0.8),
    (" quando ", Question, 0.5), (" dove ", Question, 0.5), (" dov'", Question, 0.6), (" come faccio", Question, 1.2), (" come posso", Question, 1.2),
    (" a che ora", Question, 1.2), (" è possibile", Question, 0.8), (" si può", Question, 0.8), (" vorrei sapere", Question, 1.4), (" quanto tempo", Question, 1.0),
    (" qual è", Question, 0.9), (" quali sono", Question, 0.9), (" sapete se", Question, 1.2), (" mi chiedevo", Question, 1.0), (" perché", Question, 0.3),
    (" how do i", Question, 1.2), (" how can i", Question, 1.2), (" where is", Question, 0.7), (" when will", Question, 0.9), (" what time", Question, 1.2),
    (" does anyone know", Question, 1.3), (" is it possible", Question, 1.0), (" i was wondering", Question, 1.1), (" do you know", Question, 0.9),
    (" potete mandar", Request, 1.5), (" potete invi", Request, 1.5), (" potreste", Request, 1.2), (" per favore", Request, 0.9), (" per cortesia", Request, 1.0),
    (" vi chiedo di", Request, 1.4), (" mandatemi", Request, 1.5), (" inviatemi", Request, 1.5), (" ho bisogno di", Request, 1.2), (" richiedo", Request, 1.4),
    (" chiamatemi", Request, 1.5), (" richiamatemi", Request, 1.5), (" mi serve", Request, 1.0), (" contattatemi", Request, 1.5), (" vorrei ricevere", Request, 1.2),
    (" please send", Request, 1.5), (" please call", Request, 1.5), (" could you", Request, 1.1), (" can you please", Request, 1.4), (" please", Request, 0.7),
    (" i need", Request, 1.1), (" send me", Request, 1.2), (" i request", Request, 1.4), (" call me back", Request, 1.4), (" i would like to receive", Request, 1.3),
    (" dovreste", Suggestion, 1.5), (" suggeri", Suggestion, 1.5), (" sarebbe bello", Suggestion, 1.5), (" sarebbe utile", Suggestion, 1.5),
    (" sarebbe meglio", Suggestion, 1.4), (" perché non aggiung", Suggestion, 1.6), (" propongo", Suggestion, 1.4), (" proposta", Suggestion, 0.9),
    (" consiglio di", Suggestion, 1.3), (" potreste aggiungere", Suggestion, 1.6), (" un'idea", Suggestion, 1.0), (" you should", Suggestion, 1.4),
    (" suggest", Suggestion, 1.5), (" it would be great if", Suggestion, 1.8), (" it would be nice", Suggestion, 1.7), (" why don't you", Suggestion, 1.3),
    (" feature request", Suggestion, 1.6), (" please add", Suggestion, 1.4), (" would be better", Suggestion, 1.2), (" an idea", Suggestion, 0.9),
    (" compliment", Praise, 1.6), (" eccellen", Praise, 1.5), (" ottim", Praise, 1.3), (" bravissim", Praise, 1.6), (" bravi", Praise, 1.2), (" fantastic", Praise, 1.4),
    (" perfett", Praise, 1.1), (" gentilissim", Praise, 1.4), (" consigliatissim", Praise, 1.6), (" i migliori", Praise, 1.5), (" soddisfatt", Praise, 1.2),
    (" adoro", Praise, 1.4), (" bellissim", Praise, 1.3), (" impeccabil", Praise, 1.5), (" excellent", Praise, 1.5), (" great job", Praise, 1.6), (" well done", Praise, 1.6),
    (" amazing", Praise, 1.4), (" i love", Praise, 1.4), (" best ", Praise, 0.9), (" awesome", Praise, 1.4), (" wonderful", Praise, 1.4), (" recommend", Praise, 1.1),
    (" keep it up", Praise, 1.4), (" very happy", Praise, 1.2),
    (" grazie", Thanks, 1.3), (" vi ringrazio", Thanks, 1.8), (" ringrazi", Thanks, 1.4), (" grato", Thanks, 1.3), (" grata", Thanks, 1.3), (" thank", Thanks, 1.4),
    (" thanks", Thanks, 0.4), (" grateful", Thanks, 1.4), (" appreciate", Thanks, 1.1), (" grazie mille", Thanks, 0.6), (" cheers", Thanks, 0.9),
    (" acquist", Purchase, 1.6), (" comprare", Purchase, 1.7), (" ordinare", Purchase, 1.3), (" preventivo", Purchase, 1.8), (" quanto costa", Purchase, 1.9),
    (" prezzo", Purchase, 0.9), (" abbonarmi", Purchase, 1.7), (" attivare un", Purchase, 1.2), (" prenotare", Purchase, 1.4), (" disponibil", Purchase, 0.6),
    (" vorrei ordinare", Purchase, 0.8), (" to buy", Purchase, 1.7), (" purchase", Purchase, 1.5), (" how much", Purchase, 1.5), (" price", Purchase, 0.9),
    (" a quote", Purchase, 1.7), (" place an order", Purchase, 1.7), (" in stock", Purchase, 1.4), (" sign up for", Purchase, 1.3), (" to book", Purchase, 1.3),
    (" disdire", Churn, 2.2), (" disdetta", Churn, 2.2), (" recedere", Churn, 2.0), (" recesso", Churn, 2.0), (" cambio operatore", Churn, 2.2),
    (" passo alla concorrenza", Churn, 2.2), (" chiudere il contratto", Churn, 2.2), (" chiudere il conto", Churn, 2.2), (" annullare l'abbonamento", Churn, 2.2),
    (" vado via", Churn, 1.2), (" cancellare il mio account", Churn, 2.0), (" cancel my", Churn, 2.0), (" unsubscribe", Churn, 1.6), (" switching to", Churn, 1.8),
    (" close my account", Churn, 2.2), (" leaving you", Churn, 1.8), (" terminate", Churn, 1.6), (" another provider", Churn, 1.4), (" delete my account", Churn, 2.0),
    (" curriculum", Application, 2.2), (" candidatur", Application, 2.2), (" mi candido", Application, 2.2), (" posizione di", Application, 1.3),
    (" lavorare con voi", Application, 2.0), (" lavorare per voi", Application, 2.0), (" assumete", Application, 2.0), (" cercate personale", Application, 2.2),
    (" offerta di lavoro", Application, 2.0), (" my cv", Application, 2.2), (" my resume", Application, 2.2), (" hiring", Application, 2.0), (" apply for", Application, 1.8),
    (" job opening", Application, 2.0), (" vacanc", Application, 1.8), (" internship", Application, 2.0), (" tirocinio", Application, 2.0), (" stage presso", Application, 2.0),
];
